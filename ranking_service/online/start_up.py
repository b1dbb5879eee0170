"""From a bundle's folder to a ranker that is known to work, and warm."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from feature_repo.errors import BundleError, MarqueeError, OnlineStoreError
from materialization.data_plane.online.link import RedisLink
from ranking_service.bundle import Bundle, load
from ranking_service.contract import Contract
from ranking_service.online.feature_reader import STOCK, RedisPlace
from ranking_service.online.model_free import ModelFreeOrder
from ranking_service.online.packed_reader import check_join_keys, keys_of
from ranking_service.online.ranker import Ranker
from ranking_service.online.request import RankRequest
from ranking_service.online.shared_loop import SharedLoop
from ranking_service.online.view_rows import layout_of
from ranking_service.serving_log.tables import check_names
from ranking_service.settings import ServiceSettings
from ranking_service.transform_code import code_problems

PRACTICE_ROUNDS = 5
PRACTICE_SECONDS = 5.0
logger = logging.getLogger(__name__)


async def open_ranker(
    path: Path,
    *,
    redis_url: str,
    settings: ServiceSettings,
    needs_redis: bool = True,
    loop: SharedLoop | None = None,
) -> Ranker:
    """Load the bundle, connect, fill the cache, and rank for practice, so that no caller pays for warming up.

    Raises BundleError or SettingError, or OnlineStoreError when only Redis is the problem; all problems in one
    message. Without `needs_redis` a server that is started again begins with degraded answers. `loop` is that of other
    rankers of this event loop.
    """
    place = RedisPlace(redis_url, settings)
    place.endpoint()
    bundle = await asyncio.to_thread(load, path)
    problems = await asyncio.to_thread(lambda: [*_bundle_problems(bundle)])
    problems += await asyncio.to_thread(lambda: [*_redis_problems(place)]) if needs_redis else []
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise BundleError("\n".join(["cannot start:", *(f"- {problem}" for problem in problems)]))
    bundle.booster.set_param({"nthread": settings.model_threads})
    order = ModelFreeOrder.compile(settings.levels.order_by, bundle.contract)
    ranker = Ranker(bundle, place.reader(bundle.contract), settings, order, loop=loop or SharedLoop())
    ranker.start()
    try:
        await _practise(ranker, settings.cache.preload_seconds)
    except BaseException:
        await ranker.close()
        raise
    return ranker


async def rehearse(path: Path, *, redis_url: str, settings: ServiceSettings) -> None:
    """Open a ranker and close it. Raises what `open_ranker` does."""
    ranker = await open_ranker(path, redis_url=redis_url, settings=settings)
    await ranker.close()


def doubts(contract: Contract, place: RedisPlace) -> Iterator[str]:
    """What does not keep a ranker from starting, but makes its answers poor."""
    try:
        connections = place.blocking()
        link = connections.link()
        if place.settings.redis.rows == STOCK or not isinstance(link, RedisLink):
            return
        keys = [keys_of(contract, view) for view in contract.views]
        looks = [link.holds_key_like(one.all_rows) for one in keys]
        written = [link.fields(one.schemas) for one in keys]
        connections.close()
    except OnlineStoreError as error:
        yield f"whether there are rows cannot be seen: {error}"
        return
    if looks and not any(look is None or look for look in looks):
        yield (
            f"Redis at {connections.address} holds no rows of project {contract.project}: every answer is made of "
            "defaults; run `marquee features materialize`"
        )
    older = [
        view.name
        for view, layouts in zip(contract.views, written, strict=True)
        if layouts and layout_of(view).fingerprint.hex().encode() not in layouts
    ]
    if older:
        yield (
            f"Redis at {connections.address} holds rows of {', '.join(older)} under another definition than the "
            "bundle's, or in the row format without checksums: columns that changed are missing, and reading is "
            "slower; run `marquee features materialize`"
        )


def _bundle_problems(bundle: Bundle) -> Iterator[MarqueeError]:
    contract = bundle.contract
    yield from code_problems(bundle.version, contract)
    for check in (check_join_keys, check_names):
        try:
            check(contract)
        except BundleError as error:
            yield error
    shape = bundle.booster.inplace_predict(np.full((1, len(contract.features)), np.nan, np.float32)).shape
    if shape != (1,):
        yield BundleError(
            f"bundle {bundle.version} gives {shape[1:]} scores per candidate; a ranker needs one"
        )


def _redis_problems(place: RedisPlace) -> Iterator[MarqueeError]:
    try:
        connections = place.blocking()
        link = connections.link()
        if isinstance(link, RedisLink):
            link.ping()
        connections.close()
    except OnlineStoreError as error:
        yield error


async def _practise(ranker: Ranker, seconds: float) -> None:
    try:
        items = await ranker.reader.warm_up(seconds)
        for _ in range(PRACTICE_ROUNDS):
            request = RankRequest("start-up", "", tuple(items or ("",)), time.time(), limit=1, explain=True)
            await ranker(request, deadline=time.monotonic() + PRACTICE_SECONDS)
    except OnlineStoreError as error:
        logger.warning("the start is a cold one: %s", error)
