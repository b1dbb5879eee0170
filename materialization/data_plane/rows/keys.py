"""Where rows lie in Redis: one string per entity, or for several join keys one hash per first entity.

    mq:r|<project><view>|<join keys>|<entity>            a row, or a hash of rows
    mq:s|<project><view>|                                a hash: schema fingerprint (hex) -> layout (JSON)

Project, view and join keys are netstrings (`4:rank`), so no name can end inside another; a versioned view is
followed by `@<version>`. An entity is a letter for its type and its value: text and bytes as they are, numbers in
decimal. With several join keys the first is in the key, the others are the hash's field: the second alone as it
is, more than one as netstrings.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

ROWS, SCHEMAS = b"mq:r|", b"mq:s|"
TAGS = {
    "STRING": b"s",
    "BYTES": b"b",
    "INT32": b"i",
    "INT64": b"l",
    "UNIX_TIMESTAMP": b"t",
    "BOOL": b"o",
    "FLOAT": b"f",
    "DOUBLE": b"d",
    "UUID": b"u",
    "TIME_UUID": b"v",
}
"""Letters of the types an entity may have."""


def netstring(text: bytes) -> bytes:
    """`4:rank`: length in bytes, a colon, the bytes."""
    return b"%d:%b" % (len(text), text)


@dataclass(frozen=True)
class ViewKeys:
    """The keys of one view's rows."""

    project: str
    view: str
    join_keys: tuple[str, ...]
    """The first is the hash where there are several."""
    version: int | None = None

    @cached_property
    def is_hash(self) -> bool:
        """Whether rows are fields of hashes."""
        return len(self.join_keys) > 1

    @cached_property
    def name(self) -> bytes:
        """Project, view and version, as they stand in every key of the view."""
        version = b"" if self.version is None else b"@%d" % self.version
        return netstring(self.project.encode()) + netstring(self.view.encode()) + version + b"|"

    @cached_property
    def prefix(self) -> bytes:
        """What the keys of all rows begin with."""
        return ROWS + self.name + b"".join(netstring(key.encode()) for key in self.join_keys) + b"|"

    @property
    def schemas(self) -> bytes:
        """The hash of the view's layouts."""
        return SCHEMAS + self.name

    @property
    def all_rows(self) -> bytes:
        """A SCAN pattern for every row of the view, whatever its join keys were when it was written."""
        return escaped(ROWS + self.name) + b"*"

    def key(self, entities: Sequence[bytes]) -> bytes:
        """Of the string, or of the hash; `entities` are encoded, in the order of the join keys."""
        return self.prefix + entities[0]

    def field(self, entities: Sequence[bytes]) -> bytes:
        """In the hash."""
        rest = entities[1:]
        return rest[0] if len(rest) == 1 else b"".join(map(netstring, rest))


def text_entities(texts: Iterable[str]) -> list[bytes]:
    """Entities of type STRING."""
    return [b"s" + text.encode() for text in texts]


def whole_entities(numbers: Iterable[int], value_type: str = "INT64") -> list[bytes]:
    """Entities of type INT32, INT64 or UNIX_TIMESTAMP."""
    tag = TAGS[value_type]
    return [b"%b%d" % (tag, number) for number in numbers]


def escaped(text: bytes) -> bytes:
    """A pattern that matches only this text."""
    return b"".join(b"\\" + bytes([byte]) if byte in b"*?[]\\^-" else bytes([byte]) for byte in text)
