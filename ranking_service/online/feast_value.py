"""Decoding Feast's `Value` and `Timestamp` messages from their wire format, without importing Feast.

`Value` is one oneof, so a stored value is a tag and one field. The field numbers are those of
`feast/types/Value.proto`; a test compares this decoder with Feast's own.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TypeAlias

from feature_repo.errors import OnlineStoreError

Decoded: TypeAlias = float | str | tuple[float, ...] | tuple[str, ...] | None

FLOAT_TAG = 0x35
"""First byte of a FLOAT value; four bytes little-endian follow."""
CACHED_VALUES = 1 << 17
"""Small integers, categories and list values repeat from row to row and from request to request."""


@lru_cache(CACHED_VALUES)
def decode_value(raw: bytes | None) -> Decoded:
    """One stored value: numbers, booleans and times (Unix seconds) as float, text as str, lists as tuple.

    None for a missing value: an absent field, an empty message, or Feast's explicit null.
    """
    if not raw:
        return None
    try:
        tag, start = _varint(raw, 0)
        decode = _BY_FIELD.get(tag >> 3)
        if decode is None:
            raise OnlineStoreError(f"stored value has Feast type {tag >> 3}, which is not served")
        return decode(raw, start)
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise OnlineStoreError(f"stored value is not a Feast value: {raw[:20]!r}") from error


@lru_cache(CACHED_VALUES)
def decode_timestamp(raw: bytes) -> float:
    """A `google.protobuf.Timestamp` as Unix seconds, rounded once."""
    parts = {1: 0, 2: 0}
    position = 0
    try:
        while position < len(raw):
            tag, position = _varint(raw, position)
            parts[tag >> 3], position = _varint(raw, position)
    except IndexError as error:
        raise OnlineStoreError(f"stored event time is not a timestamp: {raw[:20]!r}") from error
    return (_signed(parts[1]) * 10**9 + parts[2]) / 10**9


def _varint(raw: bytes, position: int) -> tuple[int, int]:
    """The unsigned integer at `position`, and where it ends."""
    number = shift = 0
    while True:
        byte = raw[position]
        number |= (byte & 0x7F) << shift
        position += 1
        if byte < 0x80:
            return number, position
        shift += 7


def _signed(number: int) -> int:
    """Two's complement in 64 bits; negative int32 are spelled that way too."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _integer(raw: bytes, start: int) -> float:
    return float(_signed(_varint(raw, start)[0]))


def _double(raw: bytes, start: int) -> float:
    return float(struct.unpack_from("<d", raw, start)[0])


def _float(raw: bytes, start: int) -> float:
    return float(struct.unpack_from("<f", raw, start)[0])


def _text(raw: bytes, start: int) -> str:
    return _content(raw, start).decode()


def _null(raw: bytes, start: int) -> None:  # noqa: ARG001
    return None


def _texts(raw: bytes, start: int) -> tuple[str, ...]:
    return tuple(content.decode() for content in _repeated(_content(raw, start)))


def _floats(raw: bytes, start: int) -> tuple[float, ...]:
    packed = b"".join(_repeated(_content(raw, start)))
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def _doubles(raw: bytes, start: int) -> tuple[float, ...]:
    packed = b"".join(_repeated(_content(raw, start)))
    return struct.unpack(f"<{len(packed) // 8}d", packed)


def _integers(raw: bytes, start: int) -> tuple[float, ...]:
    packed = b"".join(_repeated(_content(raw, start)))
    numbers: list[float] = []
    position = 0
    while position < len(packed):
        number, position = _varint(packed, position)
        numbers.append(float(_signed(number)))
    return tuple(numbers)


def _content(raw: bytes, start: int) -> bytes:
    """The bytes of a length-delimited field."""
    length, start = _varint(raw, start)
    if start + length > len(raw):
        raise IndexError("cut off")
    return raw[start : start + length]


def _repeated(message: bytes) -> Iterator[bytes]:
    """Contents of the entries of a list message: texts one by one, packed numbers in one run."""
    position = 0
    while position < len(message):
        _, position = _varint(message, position)
        content = _content(message, position)
        yield content
        _, position = _varint(message, position)
        position += len(content)


_BY_FIELD: dict[int, Callable[[bytes, int], Decoded]] = {
    2: _text,
    3: _integer,
    4: _integer,
    5: _double,
    6: _float,
    7: _integer,
    8: _integer,
    12: _texts,
    13: _integers,
    14: _integers,
    15: _doubles,
    16: _floats,
    17: _integers,
    18: _integers,
    19: _null,
}
"""By field number of `Value.val`: string, the numbers, bool, unix_timestamp; their lists; null."""
