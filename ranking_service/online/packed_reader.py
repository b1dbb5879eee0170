"""Reads the packed rows of one contract: the user, the items that are not in memory, and the user with each item.

One round trip. When Redis does not answer in time, what it last said takes its place, and the answer says so.
A row that is damaged counts as unread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from feature_repo.errors import BundleError, OnlineStoreError
from materialization.data_plane.online.batched_fetch import (
    BatchedFetch,
    DeadlineLink,
    FetchedView,
    ViewRead,
)
from materialization.data_plane.online.link import HashRead
from materialization.data_plane.online.pipelined import PipelinedLink
from materialization.data_plane.rows.keys import ViewKeys, text_entities
from ranking_service.assemble import Prepared
from ranking_service.contract import Contract, ViewPlan
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.blocks import Blocks
from ranking_service.online.breaker import Breaker
from ranking_service.online.degrade import degraded_views, last_known, noting_damage, unread
from ranking_service.online.fetched import Fetched, Origin
from ranking_service.online.item_cache import ItemCache
from ranking_service.online.item_table import ABSENT, ItemTable, Slots
from ranking_service.online.last_known import LastKnownUsers
from ranking_service.online.view_rows import layout_of
from ranking_service.settings import ServiceSettings

USER, ITEM, READ_ITEM = "user_id", "item_id", "read item_id"
KINDS = (frozenset({USER}), frozenset({ITEM}), frozenset({USER, ITEM}))
"""Join keys of the views a request can read: the user's, the items', the pairs'."""
ITEMS_AT_ONCE = 500
FAIR_SHARE = 0.5
"""Of the time for features: that less was too little for Redis says nothing about Redis."""


@dataclass
class PackedReader:
    """Belongs to one event loop."""

    contract: Contract
    link: DeadlineLink
    settings: ServiceSettings
    plan: BatchedFetch
    """All views; the items' take their ids from READ_ITEM."""
    without_items: BatchedFetch
    only_items: BatchedFetch
    kinds: tuple[BlockPlan, BlockPlan, BlockPlan]
    """The user's views, the items', the pairs'."""
    cache: ItemCache
    breaker: Breaker
    users: LastKnownUsers = field(init=False)

    def __post_init__(self) -> None:
        self.users = LastKnownUsers(self.kinds[2], self.settings.cache.users)

    @classmethod
    def compile(cls, contract: Contract, link: DeadlineLink, settings: ServiceSettings) -> PackedReader:
        """Raises BundleError naming every view with join keys that a ranking request does not have."""
        check_join_keys(contract)
        plan = BatchedFetch(tuple(_view_read(contract, view) for view in contract.views))
        others = tuple(read for read in plan.views if READ_ITEM not in read.request_columns)
        user, item, pair = (
            BlockPlan(contract, tuple(view for view in contract.views if set(view.join_keys) == kind))
            for kind in KINDS
        )
        table = ItemTable(item, max(settings.cache.items, 4 * settings.candidate_limit))
        prefixes = tuple(keys_of(contract, view).prefix + b"s" for view in item.views)
        return cls(
            contract,
            link,
            settings,
            plan,
            BatchedFetch(others, plan.layouts),
            BatchedFetch(tuple(read for read in plan.views if read not in others), plan.layouts),
            (user, item, pair),
            ItemCache(table, prefixes),
            Breaker(settings.breaker),
        )

    async def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float, seconds: float) -> Fetched:
        """Everything about a user and candidates; what was not read within `seconds`, or is damaged, is degraded.

        `at` is the request's time in Unix seconds, against which ttl counts.
        """
        moves = self.cache.table.moves
        slots, current = self.cache.find(item_ids)
        missed = [item_ids[place] for place in np.flatnonzero(~current).tolist()]
        until = time.monotonic() + seconds
        try:
            if seconds <= 0:
                raise OnlineStoreError("no time is left to ask the feature store")
            self.breaker.check()
            user, pairs = await self._read(user_id, item_ids, missed, seconds)
            if moves != self.cache.table.moves:
                slots = await self._slots(item_ids, until)
        except OnlineStoreError as error:
            return self.known(user_id, item_ids, at=at, reason=str(error))
        fetched = noting_damage(self._fetched(user, slots, pairs, at))
        return replace(fetched, cached_candidates=len(item_ids) - len(missed))

    async def read_items(self, item_ids: Sequence[str]) -> None:
        """Into the cache, off the request path. Raises OnlineStoreError."""
        self.breaker.check()
        await self._asked(self.only_items, {}, list(item_ids), self.settings.redis.timeout_seconds)

    async def run(self) -> None:
        """Whatever goes on between requests; until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.breaker.probe(self.probe))
            tasks.create_task(self.cache.run(self.read_items))

    async def warm_up(self, seconds: float) -> list[str]:
        """Fill the cache for so long; some of the items that are in it then. Raises OnlineStoreError."""
        if isinstance(self.link, PipelinedLink) and self.cache.channel is not None and self.kinds[1].views:
            await self.cache.fill(self.link, self.read_items, seconds=seconds)
        return list(islice(self.cache.table.slots, ITEMS_AT_ONCE))

    async def close(self) -> None:
        """Close the connections."""
        await self.link.close()

    async def probe(self) -> None:
        """Raises OnlineStoreError when Redis does not answer."""
        await self.link.fields(self.plan.views[0].keys.schemas, seconds=self.settings.redis.timeout_seconds)

    def reads(self, user_id: str, item_ids: Sequence[str]) -> tuple[list[bytes], list[HashRead]]:
        """Keys of the strings and of the hashes' fields of a request without anything in memory."""
        items = text_entities(item_ids)
        return self.plan.reads({USER: text_entities([user_id]), ITEM: items, READ_ITEM: items})

    async def _read(
        self, user_id: str, item_ids: Sequence[str], missed: list[str], seconds: float
    ) -> tuple[Blocks, Blocks]:
        """One round trip: the user's rows and the pairs'; the missed items' go to the cache."""
        plan = self.plan if missed else self.without_items
        entities = {USER: text_entities([user_id]), ITEM: text_entities(item_ids)}
        found = await self._asked(plan, entities, missed, seconds)
        user, _, pair = self.kinds
        user_blocks, pair_blocks = _blocks(user, found, 1), _blocks(pair, found, len(item_ids))
        self.users.keep(user_id, user_blocks, item_ids, pair_blocks, now=time.monotonic())
        return user_blocks, pair_blocks

    async def _asked(
        self, plan: BatchedFetch, entities: dict[str, list[bytes]], missed: list[str], seconds: float
    ) -> dict[str, FetchedView]:
        """What Redis says; the missed items' rows are kept."""
        with self.cache.reading() as watch:
            try:
                found = await plan.fetch_within(
                    self.link, {**entities, READ_ITEM: text_entities(missed)}, seconds=seconds
                )
            except OnlineStoreError as error:
                if seconds >= FAIR_SHARE * self.settings.budget.feature_seconds:
                    self.breaker.failed(str(error))
                raise
            self.breaker.succeeded()
            items = self.kinds[1]
            if missed and items.views:
                self.cache.keep(missed, items.blocks(found), watch)
        return found

    async def _slots(self, item_ids: Sequence[str], until: float) -> Slots:
        """Where the items lie now; other requests may have pushed some out while this one waited."""
        slots = self.cache.table.find(item_ids)
        while self.kinds[1].views and (slots == ABSENT).any():
            left = until - time.monotonic()
            if left <= 0:
                raise OnlineStoreError("the cache has no room for all requests at once; raise cache.items")
            gone = [item_ids[place] for place in np.flatnonzero(slots == ABSENT).tolist()]
            await self._asked(self.only_items, {}, gone, left)
            slots = self.cache.table.find(item_ids)
        return slots

    def _fetched(self, user: Blocks, slots: Slots, pairs: Blocks, at: float) -> Fetched:
        """Rows past their ttl count as nothing; the matrix columns that are known come along."""
        user_plan, item_plan, pair_plan = self.kinds
        items, prepared = self.cache.table.take(slots)
        gone = item_plan.expired(items, at)
        if gone.any():
            items = item_plan.without(items, gone, Origin.EXPIRED)
            prepared = np.where(gone[:, item_plan.model_views], item_plan.blank_prepared, prepared)
        user, pairs = _unexpired(user_plan, user, at), _unexpired(pair_plan, pairs, at)
        of_user = user_plan.prepared(user)
        return Fetched(
            len(slots),
            user_plan.entity_rows(user),
            item_plan.entity_rows(items),
            pair_plan.entity_rows(pairs),
            prepared=(
                Prepared(user_plan.matrix_places, np.broadcast_to(of_user, (len(slots), of_user.shape[1]))),
                Prepared(item_plan.matrix_places, prepared),
                Prepared(pair_plan.matrix_places, pair_plan.prepared(pairs)),
            ),
        )

    def known(self, user_id: str, item_ids: Sequence[str], *, at: float, reason: str) -> Fetched:
        """From what is known, however old it may be by the settings."""
        now = time.monotonic()
        since = now - self.settings.levels.last_known_seconds
        table = self.cache.table
        slots, current = self.cache.find(item_ids)
        slots = np.where(current | (table.confirmed[slots] >= since), slots, ABSENT)
        known = self.users.known(user_id, since=since)
        user = known.user if known is not None else self.kinds[0].blank
        pairs = self.users.pairs(known, item_ids)
        fetched = self._fetched(user, slots, pairs, at)
        ages = np.where(current, 0.0, now - table.confirmed[slots])
        user_age = now - known.read_at if known is not None else 0.0
        rows = [
            last_known(fetched.user),
            fetched.item if current.all() else last_known(fetched.item, stale=~current),
            last_known(fetched.pair),
        ]
        unread = [
            *degraded_views(rows[0], len(slots), np.array([user_age])),
            *degraded_views(rows[1], len(slots), ages),
            *degraded_views(rows[2], len(slots), np.full(len(slots), user_age)),
        ]
        return replace(
            fetched,
            user=rows[0],
            item=rows[1],
            pair=rows[2],
            degraded=tuple(unread),
            reason=reason,
            cached_candidates=int(np.count_nonzero(current)),
        )

    def unread(self, candidates: int, *, reason: str) -> Fetched:
        """No row of any view, and none looked for."""
        return unread(self.kinds, candidates, reason=reason)


def check_join_keys(contract: Contract) -> None:
    """Raises BundleError naming every view with join keys that a ranking request does not have."""
    strangers = [view.name for view in contract.views if set(view.join_keys) not in KINDS]
    if strangers:
        raise BundleError(
            f"a request knows user_id and item_id only, but views {', '.join(strangers)} have other join "
            "keys; key them by user_id, item_id or both"
        )


def _view_read(contract: Contract, view: ViewPlan) -> ViewRead:
    """Without ttl, which counts when rows are used, not when they are read."""
    columns = (READ_ITEM,) if view.join_keys == (ITEM,) else view.join_keys
    return ViewRead(view.name, keys_of(contract, view), layout_of(view), columns)


def keys_of(contract: Contract, view: ViewPlan) -> ViewKeys:
    return ViewKeys(contract.project, view.name, view.join_keys)


def _blocks(plan: BlockPlan, found: dict[str, FetchedView], rows: int) -> Blocks:
    return plan.blocks(found) if plan.views else plan.blank.take(np.zeros(rows, np.intp))


def _unexpired(plan: BlockPlan, blocks: Blocks, at: float) -> Blocks:
    gone = plan.expired(blocks, at)
    return plan.without(blocks, gone, Origin.EXPIRED) if gone.any() else blocks
