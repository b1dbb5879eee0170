"""What the serving log costs the requests beside it: the same load with and without it, in turns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xgboost

from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan
from ranking_service.online.block_plan import BlockPlan
from ranking_service.online.fetched import EntityRows, Fetched
from ranking_service.online.ranker import Ranking
from ranking_service.online.request import RankRequest
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings_sections import LogSettings

VIEWS = (
    ("user_rows", ("user_id",), 60),
    ("item_rows", ("item_id",), 80),
    ("pair_rows", ("user_id", "item_id"), 60),
)
TREES, DEPTH = 300, 6
ITEMS = 15_000
DIFFERENT_VALUES = 500
"""Of each feature: stored statistics repeat from item to item."""
SETTLE_SECONDS = 0.5
"""Between turns, for the writer to finish what it began."""
ANSWER_LOOPS = 6_000
"""Steps of plain Python in each request, for what protobuf and the event loop take."""


@dataclass(frozen=True)
class Load:
    """What is measured."""

    candidates: int = 500
    requests_per_second: float = 100.0
    turn_seconds: float = 2.0
    pairs: int = 15
    """Turns with the log, each beside one without."""


@dataclass(frozen=True)
class LogCost:
    """What requests paid, and what the writer used beside them."""

    with_log: list[npt.NDArray[np.float64]]
    """Seconds from the intended start, an array per turn."""
    without_log: list[npt.NDArray[np.float64]]
    offer_seconds: npt.NDArray[np.float64]
    """What `offer` itself took."""
    answer_seconds: npt.NDArray[np.float64]
    """What requests without the log took to work out, without the wait for their turn."""
    writer_seconds: float
    """Processor seconds per logged request, beside the request's own."""
    written: int
    dropped: int
    bytes_per_request: float

    def ratio(self, percentile: float) -> float:
        """Latency with the log relative to that of the turn beside it without: the middle of all pairs."""
        pairs = zip(self.with_log, self.without_log, strict=True)
        return float(
            np.median(
                [np.percentile(one, percentile) / np.percentile(other, percentile) for one, other in pairs]
            )
        )

    def to_json(self) -> dict[str, float]:
        without = np.concatenate(self.without_log)
        return {
            "offer_us_median": float(np.median(self.offer_seconds)) * 1e6,
            "offer_us_p99": float(np.percentile(self.offer_seconds, 99)) * 1e6,
            "request_ms_median_without": float(np.median(without)) * 1e3,
            "answer_ms_median_without": float(np.median(self.answer_seconds)) * 1e3,
            "offer_share": float(np.median(self.offer_seconds) / np.median(self.answer_seconds)),
            "latency_ratio_median": self.ratio(50),
            "latency_ratio_p90": self.ratio(90),
            "writer_ms_per_request": self.writer_seconds * 1e3,
            "kilobytes_per_request": self.bytes_per_request / 1e3,
            "written": self.written,
            "dropped": self.dropped,
        }


def measure(
    load: Load, folder: Path, settings: LogSettings, report: Callable[[str], None] = lambda _sentence: None
) -> LogCost:
    """Turns with and without a log in `folder` in changing order, so that a slow moment hits both."""
    world = _World.make(load.candidates)
    log = ServingLog.start(folder, settings)
    parts: dict[bool, list[npt.NDArray[np.float64]]] = {True: [], False: []}
    cpu = {True: 0.0, False: 0.0}
    offers: list[float] = []
    answers: list[float] = []
    for pair in range(load.pairs):
        report(f"pair {pair + 1} of {load.pairs}: with the log, and without")
        for logging in (pair % 2 == 0, pair % 2 == 1):
            began = time.process_time()
            parts[logging].append(
                asyncio.run(_turn(load, world, log if logging else None, offers if logging else answers))
            )
            time.sleep(SETTLE_SECONDS)
            cpu[logging] += time.process_time() - began
    counts = log.close()
    size = sum(path.stat().st_size for path in folder.glob("date=*/*/*.parquet"))
    return LogCost(
        with_log=parts[True],
        without_log=parts[False],
        offer_seconds=np.array(offers),
        answer_seconds=np.array(answers),
        writer_seconds=(cpu[True] - cpu[False]) / max(counts.written, 1),
        written=counts.written,
        dropped=counts.dropped,
        bytes_per_request=size / max(counts.written, 1),
    )


async def _turn(
    load: Load, world: _World, log: ServingLog | None, parts: list[float]
) -> npt.NDArray[np.float64]:
    """Latencies of one turn: requests start at fixed times, whether the one before is done or not.

    `parts` gets the seconds of each `offer`, or without a log those of each answer.
    """
    times = []
    began = time.perf_counter()
    for number in range(int(load.turn_seconds * load.requests_per_second)):
        intended = began + number / load.requests_per_second
        await asyncio.sleep(max(0.0, intended - time.perf_counter()))
        before = time.perf_counter()
        logged = world.answer()
        if log is not None:
            before = time.perf_counter()
            log.offer(logged)
        now = time.perf_counter()
        parts.append(now - before)
        times.append(now - intended)
    return np.array(times)


@dataclass(frozen=True)
class _World:
    """A request's work without gRPC and Redis."""

    contract: Contract
    candidates: int
    plans: tuple[BlockPlan, ...]
    stored: tuple[npt.NDArray[np.float32], ...]
    """Of each view, float32 [rows, features]."""
    booster: xgboost.Booster

    @classmethod
    def make(cls, candidates: int) -> _World:
        """Random rows with values that repeat, and a model trained on noise."""
        random = np.random.default_rng(0)
        views = tuple(
            ViewPlan(
                name, keys, tuple(Field(f"{name}_{index}", "FLOAT", 0.0) for index in range(count)), 0.0, ""
            )
            for name, keys, count in VIEWS
        )
        features = tuple(ModelFeature(field, view.name, "noise") for view in views for field in view.fields)
        asked = (Field("surface", "STRING", ""), Field("request_timestamp", "DOUBLE", 0.0))
        contract = Contract("bench", "bench", views, asked, (), features)
        counts = (1, ITEMS, candidates)
        stored = tuple(
            random.gamma(1.0, 5.0, (DIFFERENT_VALUES, len(view.fields))).astype(np.float32)[
                random.integers(0, DIFFERENT_VALUES, (count, len(view.fields))), np.arange(len(view.fields))
            ]
            for view, count in zip(views, counts, strict=True)
        )
        rows = random.normal(size=(4000, len(features))).astype(np.float32)
        labels = random.random(4000) < 1 / (1 + np.exp(-rows[:, :20].sum(axis=1)))
        data = xgboost.DMatrix(rows, label=labels, feature_names=list(contract.feature_names))
        booster = xgboost.train({"objective": "binary:logistic", "max_depth": DEPTH}, data, TREES)
        booster.set_param({"nthread": 1})
        return cls(
            contract, candidates, tuple(BlockPlan(contract, (view,)) for view in views), stored, booster
        )

    def answer(self) -> LoggedRanking:
        """As much work as a request, with arrays of its own as its result."""
        start = time.time_ns() % (ITEMS - self.candidates)
        items = tuple([f"item-{index:06d}" for index in range(start, start + self.candidates)])
        rows = (
            self.stored[0].copy(),
            self.stored[1][start : start + self.candidates].copy(),
            self.stored[2].copy(),
        )
        groups = [self._rows(plan, floats) for plan, floats in zip(self.plans, rows, strict=True)]
        user = np.broadcast_to(rows[0], (self.candidates, rows[0].shape[1]))
        matrix = np.concatenate([user, *rows[1:]], axis=1)
        scores = self.booster.inplace_predict(matrix)
        sum(range(ANSWER_LOOPS))
        request = RankRequest("request", f"user-{start}", items, time.time())
        ranking = Ranking(
            request=request,
            bundle_version="bench",
            level=0,
            reason="",
            order=np.argsort(-scores, kind="stable"),
            scores=scores,
            returned=20,
            fetched=Fetched(self.candidates, user=groups[0], item=groups[1], pair=groups[2]),
            context=request.columns(self.contract),
            model_input=matrix,
            explanations=(),
            explanation_skipped=False,
            micros={},
        )
        return LoggedRanking(ranking, self.contract, time.time())

    def _rows(self, plan: BlockPlan, floats: npt.NDArray[np.float32]) -> EntityRows:
        count = len(floats)
        blocks = replace(
            plan.blank,
            floats=floats,
            numbers=np.empty((count, 0)),
            texts=np.empty((count, 0), object),
            presence=np.zeros((count, 1), np.int8),
            events=np.full((count, 1), time.time()),
        )
        return plan.entity_rows(blocks)
