"""The online pipeline on one screen: fetch, assemble, score, order, explain."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from ranking_service.assemble import assemble
from ranking_service.bundle import Bundle
from ranking_service.online.explain import Explanation, explain
from ranking_service.online.feature_reader import FeatureReader
from ranking_service.online.fetched import Fetched
from ranking_service.online.request import RankRequest

COMPLETE = 0
"""Level of an answer made from the features as stored."""


@dataclass(frozen=True)
class Ranking:
    """An answer, and all that went into it."""

    request: RankRequest
    bundle_version: str
    level: int
    order: npt.NDArray[np.intp]
    """int [candidates]: candidate positions, best first."""
    scores: npt.NDArray[np.float32]
    """float32 [candidates], in the request's order."""
    returned: int
    """How many of `order` the caller asked for."""
    fetched: Fetched
    context: Columns
    """The request fields, before defaults."""
    model_input: npt.NDArray[np.float32]
    """float32 [candidates, features]."""
    explanations: tuple[Explanation, ...]
    """One per returned item, best first; empty unless asked for."""
    micros: dict[str, int]
    """Microseconds by stage."""


@dataclass(frozen=True)
class Ranker:
    """Ranks with one bundle; thread-safe."""

    bundle: Bundle
    reader: FeatureReader
    explained_features: int = 10

    def __call__(self, request: RankRequest) -> Ranking:
        """Raises OnlineStoreError when the features cannot be read in time."""
        contract = self.bundle.contract
        watch = Stopwatch()
        fetched = self.reader.fetch(request.user_id, request.candidate_ids, at=request.request_timestamp)
        watch.lap("fetch")
        context = request.columns(contract)
        model_input = assemble({**fetched.slate(), **context}, contract)
        watch.lap("assemble")
        scores = self.bundle.booster.inplace_predict(model_input)
        watch.lap("score")
        order = np.argsort(-scores, kind="stable")
        returned = min(request.limit or len(order), len(order))
        watch.lap("order")
        explanations: tuple[Explanation, ...] = ()
        if request.explain:
            explanations = explain(self.bundle, model_input[order[:returned]], self.explained_features)
        watch.lap("explain")
        return Ranking(
            request=request,
            bundle_version=self.bundle.version,
            level=COMPLETE,
            order=order,
            scores=scores,
            returned=returned,
            fetched=fetched,
            context=context,
            model_input=model_input,
            explanations=explanations,
            micros=watch.micros,
        )


@dataclass
class Stopwatch:
    """Time since the last lap, by stage."""

    clock: Callable[[], int] = time.perf_counter_ns
    micros: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._last = self.clock()

    def lap(self, stage: str) -> None:
        now = self.clock()
        self.micros[stage] = (now - self._last) // 1000
        self._last = now
