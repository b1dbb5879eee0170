"""The online pipeline on one screen: fetch, assemble, score, order, explain; each within the request's time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from feature_repo.errors import OnlineStoreError, TooLateError
from ranking_service.assemble import assemble
from ranking_service.bundle import Bundle
from ranking_service.online.explain import Explanation, explain
from ranking_service.online.feature_reader import FeatureReader
from ranking_service.online.fetched import Fetched
from ranking_service.online.model_free import ModelFreeOrder
from ranking_service.online.pace import Pace
from ranking_service.online.request import RankRequest
from ranking_service.online.shared_loop import SharedLoop
from ranking_service.online.stopwatch import Stopwatch
from ranking_service.settings import ServiceSettings

COMPLETE, LAST_KNOWN, DEFAULTS, MODEL_FREE = range(4)
"""Levels of an answer; DESIGN.md says what they mean."""
SCORED_AT_ONCE = 512
"""Candidates; between such steps calls that have come are seen, and the time is looked at."""
EXPLAINED_AT_ONCE = 16
SCORING_FIXED = 32
"""What a call of the model costs beside its rows, in rows."""
SCORED_AND_SENT = 2
"""Times what scoring takes: from its beginning until the caller has the answer, which is ordered, encoded and sent in
between. Half as many answers are late under overload as with 1 (docs/benchmarks.md)."""
FETCHED_SCORED_AND_SENT = 2.5
"""The same from the end of the fetch, with assembling and a late timer: a fetch in vain leaves the model its time."""


@dataclass(frozen=True)
class Ranking:
    """An answer, and all that went into it."""

    request: RankRequest
    bundle_version: str
    level: int
    reason: str
    """Why the level is not 0."""
    order: npt.NDArray[np.intp]
    """int [candidates]: candidate positions, best first."""
    scores: npt.NDArray[np.float32]
    """float32 [candidates], in the request's order; NaN at level 3."""
    returned: int
    """How many of `order` the caller asked for."""
    fetched: Fetched
    context: Columns
    """The request fields, before defaults."""
    model_input: npt.NDArray[np.float32] | None
    """float32 [candidates, features]; None at level 3."""
    explanations: tuple[Explanation, ...]
    """One per returned item, best first; empty unless asked for."""
    explanation_skipped: bool
    """Asked for, but there was no time."""
    micros: dict[str, int]
    """Microseconds by stage."""
    without_room: bool = False
    """Neither store nor model was asked, for want of room."""


@dataclass
class Ranker:
    """Ranks with one bundle; belongs to one event loop."""

    bundle: Bundle
    reader: FeatureReader
    settings: ServiceSettings
    model_free: ModelFreeOrder = field(default_factory=ModelFreeOrder)
    scoring: Pace = field(default_factory=lambda: Pace(SCORING_FIXED, SCORED_AT_ONCE))
    explaining: Pace = field(default_factory=Pace)
    loop: SharedLoop = field(default_factory=SharedLoop)
    """The same for all rankers of an event loop."""
    _running: list[asyncio.Task[None]] = field(default_factory=list)

    async def __call__(self, request: RankRequest, *, deadline: float) -> Ranking:
        """`deadline` is when the caller stops waiting, in `time.monotonic` seconds.

        Raises OnlineStoreError when the answer would be worse than the settings allow, TooLateError when there is
        no time for any.
        """
        with self.loop.request():
            return await self._ranked(request, Stopwatch(deadline))

    async def _ranked(self, request: RankRequest, watch: Stopwatch) -> Ranking:
        fetched = await self._fetch(request, watch)
        watch.lap("fetch")
        context = request.columns(self.bundle.contract)
        level, reason = self._level(fetched), fetched.reason
        model_input, scores = None, None
        if level < MODEL_FREE:
            model_input, scores = await self._modelled(fetched, context, watch)
        watch.lap("score")
        if scores is None:
            reason = reason or "too little time is left for scoring"
            level, model_input = self._allowed(MODEL_FREE, reason), None
        order = np.argsort(-scores, kind="stable") if scores is not None else self.model_free(fetched)
        returned = min(request.limit or len(order), len(order))
        watch.lap("order")
        explanations = await self._explanations(request, model_input, order[:returned], watch)
        watch.lap("explain")
        return Ranking(
            request=request,
            bundle_version=self.bundle.version,
            level=level,
            reason=reason,
            order=order,
            scores=scores if scores is not None else np.full(len(order), np.nan, np.float32),
            returned=returned,
            fetched=fetched,
            context=context,
            model_input=model_input,
            explanations=explanations or (),
            explanation_skipped=explanations is None,
            micros=watch.micros,
        )

    def unranked(self, request: RankRequest, *, reason: str) -> Ranking:
        """At level 3 at once, asking neither the feature store nor the model; `reason` says why there is no room.

        A tenth of a ranking's work, or less where `levels.order_by` names no feature.
        """
        watch = Stopwatch()
        ids, at = request.candidate_ids, request.request_timestamp
        if self.model_free.features:
            fetched = self.reader.known(request.user_id, ids, at=at, reason=reason)
        else:
            fetched = self.reader.unread(len(ids), reason=reason)
        watch.lap("fetch")
        order = self.model_free(fetched)
        watch.lap("order")
        return Ranking(
            request=request,
            bundle_version=self.bundle.version,
            level=MODEL_FREE,
            reason=reason,
            order=order,
            scores=np.full(len(order), np.nan, np.float32),
            returned=min(request.limit or len(order), len(order)),
            fetched=fetched,
            context=request.columns(self.bundle.contract),
            model_input=None,
            explanations=(),
            explanation_skipped=request.explain,
            micros=watch.micros,
            without_room=True,
        )

    async def _fetch(self, request: RankRequest, watch: Stopwatch) -> Fetched:
        """Leaves the model its time."""
        expected = FETCHED_SCORED_AND_SENT * self.scoring.expected(len(request.candidate_ids))
        left = watch.left()
        if left <= 0:
            raise TooLateError("the caller's time is over; allow more, or send fewer candidates")
        seconds = min(self.settings.budget.feature_seconds, left - expected)
        if seconds <= 0:
            self.scoring.declined()
        return await self.reader.fetch(
            request.user_id, request.candidate_ids, at=request.request_timestamp, seconds=seconds
        )

    def _level(self, fetched: Fetched) -> int:
        """Raises OnlineStoreError where it is not allowed. With every value a default, the model has no say."""
        if not fetched.degraded:
            return COMPLETE
        level = max(view.level for view in fetched.degraded)
        views = len(fetched.user.views) + len(fetched.item.views) + len(fetched.pair.views)
        nothing = len(fetched.degraded) == views and not fetched.has_rows
        return self._allowed(MODEL_FREE if nothing else level, fetched.reason)

    def _allowed(self, level: int, reason: str) -> int:
        if level > self.settings.levels.lowest:
            raise OnlineStoreError(f"only an answer of level {level} is possible, {reason}")
        return level

    async def _modelled(
        self, fetched: Fetched, context: Columns, watch: Stopwatch
    ) -> tuple[npt.NDArray[np.float32] | None, npt.NDArray[np.float32] | None]:
        """The model's matrix, float32 [candidates, features], and its scores, float32 [candidates]; None as far as
        there is no time."""
        rows, budget = fetched.candidate_count, self.settings.budget.scoring_seconds
        latest = watch.deadline - SCORED_AND_SENT * self.scoring.expected(rows)
        async with self.loop.holding(until=latest) as is_in_turn:
            watch.lap("wait")
            if not is_in_turn:
                self.scoring.passed_over()
                return None, None
            if not self._fits(rows, watch, seconds=budget):
                return None, None
            model_input = assemble(fetched.slate(context), self.bundle.contract, fetched.prepared)
            watch.lap("assemble")
            return model_input, await self._scores(model_input, watch, seconds=budget)

    async def _scores(
        self, model_input: npt.NDArray[np.float32], watch: Stopwatch, *, seconds: float
    ) -> npt.NDArray[np.float32] | None:
        """float32 [rows]; None when they take longer than `seconds`, or the answer would not be sent in time."""
        until = time.monotonic() + seconds
        parts: list[npt.NDArray[np.float32]] = []
        for start in range(0, len(model_input), SCORED_AT_ONCE):
            if parts:
                if not self._fits(len(model_input) - start, watch, seconds=until - time.monotonic()):
                    return None
                await self.loop.look_around()
            rows = model_input[start : start + SCORED_AT_ONCE]
            began = time.monotonic()
            parts.append(self.bundle.booster.inplace_predict(rows))
            self.scoring.took(time.monotonic() - began, len(rows))
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _fits(self, rows: int, watch: Stopwatch, *, seconds: float) -> bool:
        """Whether so many rows can be expected to be scored in `seconds`, and sent while the caller waits."""
        expected = self.scoring.expected(rows)
        if expected <= min(seconds, watch.left() / SCORED_AND_SENT) and watch.left() > 0:
            return True
        if expected > min(self.settings.budget.scoring_seconds, watch.given / SCORED_AND_SENT):
            self.scoring.declined()
        else:
            self.scoring.passed_over()
        return False

    async def _explanations(
        self,
        request: RankRequest,
        model_input: npt.NDArray[np.float32] | None,
        best: npt.NDArray[np.intp],
        watch: Stopwatch,
    ) -> tuple[Explanation, ...] | None:
        """One for each of the `best`, if asked for; None when there is no model's answer, or no time."""
        if not request.explain:
            return ()
        if model_input is None:
            return None
        rows = model_input[best]
        found: list[Explanation] = []
        for start in range(0, len(rows), EXPLAINED_AT_ONCE):
            began = time.monotonic()
            if self.explaining.expected(len(rows) - start) > watch.left():
                self.explaining.declined()
                return None
            chunk = rows[start : start + EXPLAINED_AT_ONCE]
            found += await asyncio.to_thread(explain, self.bundle, chunk, self.settings.explained_features)
            self.explaining.took(time.monotonic() - began, len(chunk))
        return tuple(found)

    def start(self) -> None:
        """Begin what goes on between requests."""
        self._running.append(asyncio.create_task(self.reader.run()))

    async def close(self) -> None:
        """Stop that, and close the connections."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self.reader.close()
