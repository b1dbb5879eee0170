"""Rankings to log, made without Redis or gRPC: known rows, the shared assembly, a real booster."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from online_world import AT, CONTRACT, NAN, make_booster

from feature_repo.columns import Column, Columns, Ragged
from ranking_service import bundle
from ranking_service.assemble import assemble
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract
from ranking_service.online.fetched import DegradedView, EntityRows, Fetched, Origin, ViewRows
from ranking_service.online.ranker import Ranking
from ranking_service.online.request import RankRequest
from ranking_service.serving_log.tables import LoggedRanking
from skew_checks.replay import served
from skew_checks.result.parts import Window

ITEMS = ("item 0", "item 1", "item 2", "item 3")
USERS = {"ann": (1.5, "DE"), "bob": (-2.0, "XX")}
AGE = 60.0
"""Seconds of every stored row at request time."""
numbers = itertools.count()


@cache
def publish_bundle(models: Path, version: str = "v1") -> Bundle:
    return bundle.load(
        bundle.publish(models, version=version, booster=make_booster(), contract=CONTRACT, manifest={})
    )


def popularity(item: str) -> float:
    """As stored: float32."""
    return float(np.float32(int(item.split()[-1]) * 0.37 % 2 - 1))


def fetched(
    user: str, items: Sequence[str], at: float, *, item_origins: Sequence[Origin] | None = None
) -> Fetched:
    """Users without a row are strangers; `item_origins` says how each item's row was found."""
    origins = np.array([Origin.FOUND] * len(items) if item_origins is None else item_origins, np.int8)
    usable = (origins == Origin.FOUND) | (origins == Origin.LAST_KNOWN)
    user_row = USERS.get(user)
    user_columns: Columns = {
        "user_activity": np.array([NAN if user_row is None else user_row[0]]),
        "user_country": np.array([None if user_row is None else user_row[1]], object),
    }
    user_origin = Origin.NOT_FOUND if user_row is None else Origin.FOUND
    item_columns: dict[str, Column] = {
        "item_popularity": np.where(usable, [popularity(item) for item in items], NAN),
        "item_plays": np.where(usable, np.arange(len(items), dtype=np.float64), NAN),
        "item_genres": Ragged.from_lists(
            [["drama"] * (place % 3) if good else [] for place, good in enumerate(usable)]
        ),
    }
    degraded = [
        DegradedView("item_stats", level, int((origins == origin).sum()), 5.0)
        for level, origin in ((1, Origin.LAST_KNOWN), (2, Origin.UNREAD))
        if (origins == origin).any()
    ]
    return Fetched(
        len(items),
        user=EntityRows(user_columns, {"user_stats": _rows([user_origin], at)}),
        item=EntityRows(item_columns, {"item_stats": _rows(origins, at)}),
        pair=EntityRows(
            {"pair_seen": np.full(len(items), NAN)},
            {"pair_stats": _rows([Origin.NOT_FOUND] * len(items), at)},
        ),
        degraded=tuple(degraded),
        reason="Redis did not answer in 20 ms" if degraded else "",
    )


def _rows(origins: Sequence[int] | npt.NDArray[np.int8], at: float) -> ViewRows:
    presence = np.array(origins, np.int8)
    absent = (presence == Origin.NOT_FOUND) | (presence == Origin.UNREAD)
    return ViewRows(presence, np.where(absent, NAN, at - AGE))


def ranked(
    user: str = "ann",
    items: Sequence[str] = ITEMS,
    *,
    at: float = AT,
    request_id: str | None = None,
    limit: int = 0,
    contract: Contract = CONTRACT,
    version: str = "v1",
    item_origins: Sequence[Origin] | None = None,
    surface: str | None = "search",
) -> LoggedRanking:
    """What a server would log of one request."""
    request = RankRequest(
        request_id or f"request-{next(numbers)}", user, tuple(items), at, surface=surface, limit=limit
    )
    found = fetched(user, items, at, item_origins=item_origins)
    context = request.columns(contract)
    matrix = assemble(found.slate(context), contract)
    scores = make_booster().inplace_predict(matrix)
    order = np.argsort(-scores, kind="stable")
    ranking = Ranking(
        request=request,
        bundle_version=version,
        level=max((view.level for view in found.degraded), default=0),
        reason=found.reason,
        order=order,
        scores=scores,
        returned=min(limit or len(items), len(items)),
        fetched=found,
        context=context,
        model_input=matrix,
        explanations=(),
        explanation_skipped=False,
        micros={},
    )
    return LoggedRanking(ranking, contract, at, model="home")


def without_model(logged: LoggedRanking) -> LoggedRanking:
    """The same answered at level 3."""
    count = len(logged.ranking.order)
    ranking = replace(
        logged.ranking,
        level=3,
        reason="too little time is left for scoring",
        order=np.arange(count),
        scores=np.full(count, np.nan, np.float32),
        model_input=None,
    )
    return replace(logged, ranking=ranking)


def read_log(folder: Path) -> tuple[pa.Table, pa.Table]:
    """Every complete request and its candidates, as the skew check reads them."""
    segments = served.read_log(folder, Window()).segments
    return (
        pa.concat_tables([segment.requests() for segment in segments]),
        pa.concat_tables([segment.candidates() for segment in segments]),
    )
