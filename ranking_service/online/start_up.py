"""From a bundle's folder to a ranker that is known to work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from feature_repo.errors import BundleError, MarqueeError
from feature_repo.transforms import TRANSFORMS
from ranking_service.bundle import Bundle, load
from ranking_service.online.ranker import Ranker
from ranking_service.online.redis_link import RedisLink
from ranking_service.online.request import RankRequest
from ranking_service.online.serving_log_tables import check_names
from ranking_service.online.settings import ServiceSettings
from ranking_service.online.stock_redis_reader import StockRedisReader
from ranking_service.transform_code import WAY_OUT, changed_transforms


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
    ranker = Ranker(bundle, StockRedisReader.compile(bundle.contract, link), settings.explained_features)
    ranker(RankRequest("start-up", "", ("",), request_timestamp=0.0, explain=True))
    return ranker


def _bundle_problems(bundle: Bundle, link: RedisLink) -> Iterator[MarqueeError]:
    contract = bundle.contract
    for plan in contract.transforms:
        if plan.name not in TRANSFORMS:
            yield BundleError(
                f"bundle {bundle.version} needs the transform {plan.name}, which feature_repo/transforms.py "
                "lacks; restore it or retrain with `marquee model train`"
            )
    changed = changed_transforms(contract)
    if changed:
        yield BundleError(
            f"bundle {bundle.version} was trained with other code of the transforms {', '.join(changed)}; {WAY_OUT}"
        )
    for check in (lambda: StockRedisReader.compile(contract, link), lambda: check_names(contract)):
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
