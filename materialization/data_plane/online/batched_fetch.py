"""All views of a feature service for all entities of a request: one round trip, columns out.

Everything but the ids is known when a plan is compiled. Imports no Feast.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from materialization.data_plane.online.link import AsyncRedisLink, HashRead, Link, Reply
from materialization.data_plane.rows.keys import ViewKeys
from materialization.data_plane.rows.layout import Layout
from materialization.data_plane.rows.reading import FindLayout, Rows, read

LOOK_AGAIN_SECONDS = 5.0
"""How long a layout that Redis did not know is not asked for again."""
WARN_AGAIN_SECONDS = 60.0
"""How long nothing more is said of a view's damaged rows."""
WARNED: dict[bytes, float] = {}
"""When this process last did, by view, in monotonic seconds: plans come and go."""
logger = logging.getLogger(__name__)

Entities: TypeAlias = Mapping[str, Sequence[bytes]]
"""Encoded entities by request column (`materialization.data_plane.rows.keys`): n of them, or 1 for all n."""


class DeadlineLink(Protocol):
    """An asynchronous connection whose reads have a deadline each."""

    async def read(
        self, strings: Sequence[bytes], hashes: Sequence[HashRead], *, seconds: float
    ) -> list[Reply]:
        """As `Link.read`. Raises OnlineStoreError after `seconds`."""

    async def fields(self, key: bytes, *, seconds: float) -> dict[bytes, bytes]:
        """As `Link.fields`. Raises OnlineStoreError after `seconds`."""

    async def close(self) -> None:
        """Close the connections."""


class Presence(IntEnum):
    """Whether a view had a usable row for an entity."""

    FOUND = 0
    NOT_FOUND = 1
    EXPIRED = 2
    """There is a row, but it is older than the view's ttl; its values must not be used."""
    DAMAGED = 3
    """There is a row, but its bytes are not those that were written, or nobody knows their definition."""


WITHOUT_TIME = (Presence.NOT_FOUND, Presence.DAMAGED)
"""Rows of which not even the event time is known."""


@dataclass(frozen=True)
class ViewRead:
    """How one view is read."""

    name: str
    """Of its columns in the answer: the view's name or alias."""
    keys: ViewKeys
    layout: Layout
    request_columns: tuple[str, ...]
    """Where the request has the entity of each join key."""
    ttl_seconds: float = 0.0
    """0 means no limit."""


@dataclass(frozen=True)
class FetchedView:
    """One view's rows: as many as entities were asked for, 1 if all its entities were single."""

    rows: Rows
    """Those that are not FOUND count as missing in every column."""
    presence: npt.NDArray[np.int8]
    """int8 [rows] of `Presence`."""
    event_micros: npt.NDArray[np.int64]
    """int64 [rows], microseconds since 1970 UTC; true for expired rows too, without meaning where `WITHOUT_TIME`."""


@dataclass(frozen=True)
class _Span:
    """Where one view's replies lie."""

    view: ViewRead
    start: int
    count: int


@dataclass(frozen=True)
class BatchedFetch:
    """A compiled plan; thread-safe."""

    views: tuple[ViewRead, ...]
    layouts: dict[tuple[bytes, bytes], tuple[Layout | None, float]] = field(default_factory=dict)
    """Layouts of older definitions by view and fingerprint, and when they were looked up."""

    def fetch(self, link: Link, entities: Entities, *, at: float) -> dict[str, FetchedView]:
        """The rows of every view, by its name. `at` is the instant, in Unix seconds, against which ttl counts.

        Raises OnlineStoreError, KeyError for a request column that is not there, ValueError where lengths differ.
        """
        strings, hashes, spans = self._reads(entities)
        replies = link.read(strings, hashes)
        fetched, unknown = self._fetched(spans, replies, at)
        if not unknown:
            return fetched
        for view, asked in unknown:
            self._learn(view, asked, link.fields(view.keys.schemas))
        return self._fetched(spans, replies, at)[0]

    async def fetch_async(
        self, link: AsyncRedisLink, entities: Entities, *, at: float
    ) -> dict[str, FetchedView]:
        """The same, asynchronously."""
        strings, hashes, spans = self._reads(entities)
        replies = await link.read(strings, hashes)
        fetched, unknown = self._fetched(spans, replies, at)
        if not unknown:
            return fetched
        for view, asked in unknown:
            self._learn(view, asked, await link.fields(view.keys.schemas))
        return self._fetched(spans, replies, at)[0]

    async def fetch_within(
        self, link: DeadlineLink, entities: Entities, *, seconds: float, at: float = 0.0
    ) -> dict[str, FetchedView]:
        """The same within a deadline; rows of an older definition may take as long once more."""
        strings, hashes, spans = self._reads(entities)
        replies = await link.read(strings, hashes, seconds=seconds)
        fetched, unknown = self._fetched(spans, replies, at)
        if not unknown:
            return fetched
        for view, asked in unknown:
            self._learn(view, asked, await link.fields(view.keys.schemas, seconds=seconds))
        return self._fetched(spans, replies, at)[0]

    def reads(self, entities: Entities) -> tuple[list[bytes], list[HashRead]]:
        """The keys of all strings, and the keys and fields of all hashes, that `fetch` reads."""
        strings, hashes, _ = self._reads(entities)
        return strings, hashes

    def _reads(self, entities: Entities) -> tuple[list[bytes], list[HashRead], list[_Span]]:
        """And where each view's replies will be."""
        strings: list[bytes] = []
        hashes: list[HashRead] = []
        of_strings, of_hashes = [], []
        in_hashes = 0
        for view in self.views:
            columns = _columns(view, entities)
            if not view.keys.is_hash:
                of_strings.append(_Span(view, len(strings), len(columns[0])))
                prefix = view.keys.prefix
                strings += [prefix + entity for entity in columns[0]]
                continue
            of_hashes.append(_Span(view, in_hashes, max(map(len, columns))))
            hashes += _hash_reads(view.keys, columns)
            in_hashes += of_hashes[-1].count
        shifted = [_Span(span.view, span.start + len(strings), span.count) for span in of_hashes]
        return strings, hashes, [*of_strings, *shifted]

    def _fetched(
        self, spans: Sequence[_Span], replies: Sequence[Reply], at: float
    ) -> tuple[dict[str, FetchedView], list[tuple[ViewRead, list[bytes]]]]:
        """The rows, and the views with rows of definitions to be looked up: their fingerprints."""
        fetched, unknown = {}, []
        for span in spans:
            asked: list[bytes] = []
            raw = replies[span.start : span.start + span.count]
            rows = read(span.view.layout, raw, self._finder(span.view, asked))
            damaged = _damaged(rows, raw)
            fetched[span.view.name] = _judged(span.view, rows, damaged, round(at * 1e6))
            if asked:
                unknown.append((span.view, asked))
            elif damaged.any():
                _warn(span.view, int(np.count_nonzero(damaged)))
        return fetched, unknown

    def _finder(self, view: ViewRead, asked: list[bytes]) -> FindLayout:
        """Finds older layouts, and notes the fingerprints to be looked up: by every read until the answer is here."""

        def find(fingerprint: bytes) -> Layout | None:
            key, now = (view.keys.schemas, fingerprint), time.monotonic()
            layout, looked = self.layouts.get(key, (None, -np.inf))
            if layout is None and now - looked > LOOK_AGAIN_SECONDS:
                asked.append(fingerprint)
            return layout

        return find

    def _learn(self, view: ViewRead, asked: Sequence[bytes], schemas: Mapping[bytes, bytes]) -> None:
        """Remember the layouts Redis knows, and which it does not; one of another format, or damaged, is none."""
        now = time.monotonic()
        learned: dict[tuple[bytes, bytes], tuple[Layout | None, float]]
        learned = {(view.keys.schemas, fingerprint): (None, now) for fingerprint in asked}
        for fingerprint, text in schemas.items():
            try:
                layout = Layout.from_json(json.loads(text))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
            if layout.fingerprint.hex().encode() == fingerprint:
                learned[view.keys.schemas, layout.fingerprint] = (layout, now)
        self.layouts.update(learned)


def _warn(view: ViewRead, count: int) -> None:
    """Once in a while: who reads damaged rows does so again and again."""
    now = time.monotonic()
    if now - WARNED.get(view.keys.name, -np.inf) > WARN_AGAIN_SECONDS:
        WARNED[view.keys.name] = now
        logger.warning(
            "view %s: rows that are damaged or of an unknown definition count as missing (%d in one read); "
            "`marquee features reconcile` writes them anew",
            view.keys.view,
            count,
        )


def _damaged(rows: Rows, raw: Sequence[Reply]) -> npt.NDArray[np.bool_]:
    """bool [rows]: Redis has a row, but it cannot be read."""
    absent: npt.NDArray[np.bool_] = ~rows.present
    if not absent.any() or np.count_nonzero(absent) == raw.count(None):
        return np.zeros(len(raw), np.bool_)
    absent &= [row is not None for row in raw]
    return absent


def _judged(view: ViewRead, rows: Rows, damaged: npt.NDArray[np.bool_], at_micros: int) -> FetchedView:
    """Rows older than the view's ttl count as missing, and say so. FOUND is 0, NOT_FOUND is 1."""
    presence = (~rows.present).astype(np.int8)
    presence[damaged] = Presence.DAMAGED
    event = rows.event
    oldest = at_micros - round(view.ttl_seconds * 1e6)
    if view.ttl_seconds and event.min(initial=oldest) < oldest:
        expired = rows.present & (event < oldest)
        presence[expired] = Presence.EXPIRED
        rows = rows.without(expired)
    return FetchedView(rows, presence, event)


def _columns(view: ViewRead, entities: Entities) -> list[Sequence[bytes]]:
    columns = [entities[name] for name in view.request_columns]
    lengths = set(map(len, columns)) - {1}
    if len(lengths) > 1:
        raise ValueError(
            f"view {view.name} needs equally many of {', '.join(view.request_columns)}; found {lengths}"
        )
    return columns


def _hash_reads(keys: ViewKeys, columns: Sequence[Sequence[bytes]]) -> list[HashRead]:
    """One HMGET where all rows share their first entity, else one for each row."""
    count = max(map(len, columns))
    rest = [column * count if len(column) == 1 else column for column in map(list, columns[1:])]
    fields = rest[0] if len(rest) == 1 else [keys.field((b"", *parts)) for parts in zip(*rest, strict=True)]
    if len(columns[0]) == 1:
        return [(keys.key(columns[0]), fields)]
    return [(keys.prefix + first, (one,)) for first, one in zip(columns[0], fields, strict=True)]
