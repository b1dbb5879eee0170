"""Reads rows that Feast's stock Redis store wrote; the only file that knows how they lie there.

One hash per entity key holds the values of all views with the same join keys:

    key     u32 number of join keys, their names (sorted), their values, the project
            names and values are u32 type, u32 length, bytes; the project is bare bytes
    field   murmur3("view:feature"), 4 bytes little-endian -> a serialized Value
            "_ts:view"                                     -> the row's event time, a serialized Timestamp

Everything but the ids is known when a contract loads, so a request is: paste ids into prepared commands, one
write, one read of all replies, numpy.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import mmh3
import numpy as np
import numpy.typing as npt

from feature_repo.columns import Column, Ragged
from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.batched_fetch import Presence
from materialization.data_plane.online.link import RedisLink
from ranking_service.contract import Contract, Field, ViewPlan
from ranking_service.online.feast_value import FLOAT_TAG, Decoded, decode_timestamp, decode_value
from ranking_service.online.fetched import NO_ROWS, EntityRows, Fetched, ViewRows
from ranking_service.online.packed_reader import check_join_keys

USER, ITEM, PAIR = ("user_id",), ("item_id",), ("item_id", "user_id")
STRING_TYPE = 2
"""Feast's ValueType.STRING; Marquee's ids are text."""
FLOAT_VALUE = np.dtype([("tag", "u1"), ("value", "<f4")])
MISSING_FLOAT = struct.pack("<Bf", FLOAT_TAG, float("nan"))

Reply: TypeAlias = Sequence[bytes | None]


@dataclass(frozen=True)
class StockRedisReader:
    """Reads the views of one contract; thread-safe."""

    link: RedisLink
    project: str
    groups: dict[tuple[str, ...], _Group]
    """By join keys."""

    @classmethod
    def compile(cls, contract: Contract, link: RedisLink) -> StockRedisReader:
        """Raises BundleError naming every view with join keys that a ranking request does not have."""
        check_join_keys(contract)
        served: tuple[tuple[str, ...], ...] = (USER, ITEM, PAIR)
        grouped = {
            keys: [view for view in contract.views if tuple(sorted(view.join_keys)) == keys]
            for keys in served
        }
        project = contract.project
        return cls(
            link,
            project,
            {keys: _Group.compile(keys, views, project) for keys, views in grouped.items() if views},
        )

    def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float) -> Fetched:
        """One round trip for the user, the items, and the user with each item.

        `at` is the request's time in Unix seconds, against which ttl counts. Raises OnlineStoreError.
        """
        values = _key_values(user_id, item_ids)
        commands = b"".join(group.commands(values[keys]) for keys, group in self.groups.items())
        replies = self.link.exchange(commands, sum(len(values[keys]) for keys in self.groups))
        rows, start = {}, 0
        for keys, group in self.groups.items():
            end = start + len(values[keys])
            rows[keys] = group.rows(replies[start:end], at)
            start = end
        user, item, pair = (rows.get(keys, NO_ROWS) for keys in (USER, ITEM, PAIR))
        return Fetched(len(item_ids), user, item, pair)

    def has_rows(self) -> bool | None:
        """Whether Redis holds a row of the project; None when a short look did not tell. Raises OnlineStoreError."""
        return self.link.holds_key_like(b"*" + self.project.encode())

    def older_views(self) -> list[str]:
        """None: stock rows carry no definition."""
        return []

    def plain_reads(self, user_id: str, item_ids: Sequence[str]) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """Key and hash fields of every HMGET that `fetch` would send: what a benchmark reads as its floor."""
        values = _key_values(user_id, item_ids)
        return [
            (key, group.hash_fields)
            for keys, group in self.groups.items()
            for key in group.keys(values[keys])
        ]


@dataclass(frozen=True)
class _Group:
    """The views that share one hash."""

    views: tuple[_View, ...]
    key_head: bytes
    """The join keys' names."""
    key_tail: bytes
    """The project."""
    hash_fields: tuple[bytes, ...]
    command_head: bytes
    command_tail: bytes

    @classmethod
    def compile(cls, join_keys: tuple[str, ...], plans: Sequence[ViewPlan], project: str) -> _Group:
        views: list[_View] = []
        hash_fields: list[bytes] = []
        for plan in plans:
            view = _View.compile(plan, len(hash_fields))
            hash_fields += [_hash_field(plan.name, field.name) for field in (*view.floats, *view.others)]
            hash_fields.append(f"_ts:{plan.name}".encode())
            views.append(view)
        head = struct.pack("<I", len(join_keys)) + b"".join(_text_bytes(key) for key in join_keys)
        return cls(
            views=tuple(views),
            key_head=head,
            key_tail=project.encode(),
            hash_fields=tuple(hash_fields),
            command_head=b"*%d\r\n$5\r\nHMGET\r\n" % (len(hash_fields) + 2),
            command_tail=b"".join(b"$%d\r\n%b\r\n" % (len(name), name) for name in hash_fields),
        )

    def commands(self, values: Sequence[bytes]) -> bytes:
        """One HMGET per entity, as Redis reads it from the wire."""
        head, tail = self.command_head, self.command_tail
        return b"".join(b"%b$%d\r\n%b\r\n%b" % (head, len(key), key, tail) for key in self.keys(values))

    def keys(self, values: Sequence[bytes]) -> list[bytes]:
        """The entities' hashes."""
        return [self.key_head + value + self.key_tail for value in values]

    def rows(self, replies: Sequence[Reply], at: float) -> EntityRows:
        """Columns and presence of the entities, in the replies' order."""
        columns: dict[str, Column] = {}
        found: dict[str, ViewRows] = {}
        for view in self.views:
            rows = found[view.plan.name] = view.rows(replies, at)
            columns |= view.columns(replies, rows.usable)
        return EntityRows(columns, found)


@dataclass(frozen=True)
class _View:
    """One view's part of a reply: its FLOAT values, its other values, its event time."""

    plan: ViewPlan
    floats: tuple[Field, ...]
    others: tuple[Field, ...]
    start: int
    """Place of its first value in the reply."""

    @classmethod
    def compile(cls, plan: ViewPlan, start: int) -> _View:
        floats = tuple(field for field in plan.fields if field.value_type == "FLOAT")
        return cls(plan, floats, tuple(field for field in plan.fields if field not in floats), start)

    def rows(self, replies: Sequence[Reply], at: float) -> ViewRows:
        """Without an event time there is no row."""
        place = self.start + len(self.floats) + len(self.others)
        stamps = [reply[place] for reply in replies]
        times = np.array([np.nan if raw is None else decode_timestamp(raw) for raw in stamps], np.float64)
        presence = np.where(np.isnan(times), Presence.NOT_FOUND, Presence.FOUND).astype(np.int8)
        if self.plan.ttl_seconds:
            presence[at - times > self.plan.ttl_seconds] = Presence.EXPIRED
        return ViewRows(presence, times)

    def columns(self, replies: Sequence[Reply], usable: npt.NDArray[np.bool_]) -> dict[str, Column]:
        """Rows that are not usable are missing in every column."""
        kept = np.flatnonzero(usable).tolist()
        others = self.start + len(self.floats)
        block = np.full((len(replies), len(self.floats)), np.nan, np.float64)
        block[kept] = self._float_block([replies[row][self.start : others] for row in kept])
        columns: dict[str, Column] = {field.name: block[:, place] for place, field in enumerate(self.floats)}
        for place, field in enumerate(self.others, start=others):
            raw: list[bytes | None] = [None] * len(replies)
            for row in kept:
                raw[row] = replies[row][place]
            columns[field.name] = self._column(raw, field)
        return columns

    def _float_block(self, rows: Sequence[Reply]) -> npt.NDArray[np.float64]:
        """float64 [rows, FLOAT fields]; NaN where a value is missing.

        A FLOAT value is five bytes, so a row without gaps is read as it lies. A row of another length or with
        another tag has gaps, or values of another type, and is read value by value.
        """
        blank = MISSING_FLOAT * len(self.floats)
        lines = [b"".join(cast(Sequence[bytes], row)) if None not in row else b"" for row in rows]
        gaps = [row for row, line in enumerate(lines) if len(line) != len(blank)]
        for row in gaps:
            lines[row] = blank
        stored = np.frombuffer(b"".join(lines), FLOAT_VALUE).reshape(len(rows), len(self.floats))
        block = stored["value"].astype(np.float64)
        strange = np.flatnonzero((stored["tag"] != FLOAT_TAG).any(axis=1)).tolist()
        for row in (*gaps, *strange):
            for place, (raw, field) in enumerate(zip(rows[row], self.floats, strict=True)):
                block[row, place] = self._number(raw, field)
        return block

    def _column(self, raw: Sequence[bytes | None], field: Field) -> Column:
        """The values of one field that is not FLOAT."""
        if field.is_list:
            dtype = object if field.value_type == "STRING_LIST" else np.float64
            return Ragged.from_lists([self._list(value, field) for value in raw], dtype)
        if field.is_text:
            column = np.empty(len(raw), object)
            column[:] = [self._text(value, field) for value in raw]
            return column
        return np.array([self._number(value, field) for value in raw], np.float64)

    def _number(self, raw: bytes | None, field: Field) -> float:
        decoded = decode_value(raw)
        if decoded is None:
            return np.nan
        return decoded if isinstance(decoded, float) else self._mismatch(decoded, field)

    def _text(self, raw: bytes | None, field: Field) -> str | None:
        decoded = decode_value(raw)
        return decoded if decoded is None or isinstance(decoded, str) else self._mismatch(decoded, field)

    def _list(self, raw: bytes | None, field: Field) -> tuple[Any, ...] | None:
        decoded = decode_value(raw)
        return decoded if decoded is None or isinstance(decoded, tuple) else self._mismatch(decoded, field)

    def _mismatch(self, decoded: Decoded, field: Field) -> Any:
        raise OnlineStoreError(
            f"feature {self.plan.name}:{field.name} is {field.value_type} in the contract, but Redis holds "
            f"{decoded!r}; materialize the view again"
        )


def _key_values(user_id: str, item_ids: Sequence[str]) -> dict[tuple[str, ...], list[bytes]]:
    """The ids of each kind of entity as they stand in its keys."""
    user, items = _text_bytes(user_id), [_text_bytes(item_id) for item_id in item_ids]
    return {USER: [user], ITEM: items, PAIR: [item + user for item in items]}


def _text_bytes(text: str) -> bytes:
    """A text as it stands in an entity key."""
    content = text.encode()
    return struct.pack("<II", STRING_TYPE, len(content)) + content


def _hash_field(view: str, feature: str) -> bytes:
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))
