"""From a bundle's folder to a ranker that is known to work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from feature_repo.errors import BundleError, MarqueeError, OnlineStoreError
from materialization.data_plane.online.link import RedisLink
from ranking_service.bundle import Bundle, load
from ranking_service.online.feature_reader import compile_reader
from ranking_service.online.ranker import Ranker
from ranking_service.online.request import RankRequest
from ranking_service.serving_log.tables import check_names
from ranking_service.settings import ServiceSettings
from ranking_service.transform_code import code_problems


def open_ranker(path: Path, *, redis_url: str, settings: ServiceSettings) -> Ranker:
    """Load the bundle, connect, and rank nobody once, so that the first caller does not pay for warming up.

    Raises BundleError, or OnlineStoreError when only Redis is the problem; all problems in one message.
    """
    link = RedisLink.connect(
        redis_url,
        timeout_seconds=settings.redis.timeout_seconds,
        connect_seconds=settings.redis.connect_seconds,
    )
    bundle = load(path)
    problems = [*_bundle_problems(bundle, link), *_redis_problems(link)]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise BundleError("\n".join(["cannot start:", *(f"- {problem}" for problem in problems)]))
    bundle.booster.set_param({"nthread": settings.model_threads})
    reader = compile_reader(bundle.contract, link, settings.redis.rows)
    ranker = Ranker(bundle, reader, settings.explained_features)
    ranker(RankRequest("start-up", "", ("",), request_timestamp=0.0, explain=True))
    return ranker


def doubts(ranker: Ranker) -> Iterator[str]:
    """What does not keep a ranker from starting, but makes its answers poor."""
    reader = ranker.reader
    try:
        has_rows = reader.has_rows()
        older = reader.older_views()
    except OnlineStoreError as error:
        yield f"whether there are rows cannot be seen: {error}"
        return
    if has_rows is False:
        yield (
            f"Redis at {reader.link.address} holds no rows of project {reader.project}: every answer is made of "
            "defaults; run `marquee features materialize`"
        )
    if older:
        yield (
            f"Redis at {reader.link.address} holds rows of {', '.join(older)} under another definition than the "
            "bundle's: columns that changed are missing; run `marquee features materialize`"
        )


def _bundle_problems(bundle: Bundle, link: RedisLink) -> Iterator[MarqueeError]:
    contract = bundle.contract
    yield from code_problems(bundle.version, contract)
    for check in (lambda: compile_reader(contract, link), lambda: check_names(contract)):
        try:
            check()
        except BundleError as error:
            yield error
    shape = bundle.booster.inplace_predict(np.full((1, len(contract.features)), np.nan, np.float32)).shape
    if shape != (1,):
        yield BundleError(
            f"bundle {bundle.version} gives {shape[1:]} scores per candidate; a ranker needs one"
        )


def _redis_problems(link: RedisLink) -> Iterator[MarqueeError]:
    try:
        link.ping()
    except MarqueeError as error:
        yield error
