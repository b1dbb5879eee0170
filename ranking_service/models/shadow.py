"""A second bundle that scores a share of live requests off the response path; both answers are logged.

One thread with an event loop of its own takes rankings from a bounded queue. What does not fit in it is dropped and
counted: a second model that is slow costs shadow rows, never an answer's time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.errors import MarqueeError
from ranking_service.assemble import assemble
from ranking_service.bundle import Bundle, load
from ranking_service.contract import Contract
from ranking_service.models.shadow_log import ShadowedRanking, ShadowLog
from ranking_service.online.ranker import MODEL_FREE, Ranker, Ranking
from ranking_service.online.start_up import open_ranker
from ranking_service.online.stopwatch import Stopwatch
from ranking_service.serving_log.writer import is_sampled
from ranking_service.settings import ServiceSettings
from ranking_service.transform_code import code_problems

POLL_SECONDS = 0.02
"""How often the thread looks; requests do not wake it, which would cost each of them a switch of threads."""
CLOSE_SECONDS = 30.0
OWN_READ_SECONDS = 1.0

logger = logging.getLogger(__name__)


@dataclass
class ShadowCounts:
    """Offered rankings by what became of them."""

    offered: int = 0
    unsampled: int = 0
    dropped: int = 0
    """The queue was full."""
    model_free: int = 0
    """Answered without a model, so there is nothing to compare."""
    failed: int = 0
    """The second model could not rank them."""
    unwritten: int = 0
    """Scored, but the log could not be written."""
    logged: int = 0


@dataclass
class Shadow:
    """`offer` belongs to the server's event loop; everything else happens in the thread."""

    bundle: Bundle
    redis_url: str
    settings: ServiceSettings
    log: ShadowLog
    clock: Callable[[], float] = time.time
    counts: ShadowCounts = field(default_factory=ShadowCounts)

    def __post_init__(self) -> None:
        self._queue: deque[tuple[Ranking, Contract]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._work()), name="shadow", daemon=True)
        self._ranker: Ranker | None = None
        self._compared: tuple[Contract, bool] | None = None
        self._told = ""

    @classmethod
    def start(cls, path: Path, *, redis_url: str, settings: ServiceSettings, folder: Path) -> Shadow:
        """Load the second bundle and start the thread; `folder` is the shadow log's.

        Raises BundleError for a bundle that is damaged, or that the present code cannot serve.
        """
        bundle = load(path)
        for problem in code_problems(bundle.version, bundle.contract):
            raise problem
        bundle.booster.set_param({"nthread": settings.model_threads})
        log = ShadowLog(folder, settings.log.segment_seconds, settings.log.keep_days)
        shadow = cls(bundle, redis_url, settings, log)
        shadow._thread.start()
        return shadow

    def offer(self, ranking: Ranking, contract: Contract) -> None:
        """Take an answer of the bundle with `contract`, or count why not; returns at once.

        Its arrays must not change any more: they are read later.
        """
        self.counts.offered += 1
        if not is_sampled(ranking.request.user_id, self.settings.shadow.share):
            self.counts.unsampled += 1
        elif ranking.level >= MODEL_FREE:
            self.counts.model_free += 1
        elif len(self._queue) >= self.settings.shadow.queue_requests:
            self.counts.dropped += 1
        else:
            self._queue.append((ranking, contract))

    def close(self, timeout_seconds: float = CLOSE_SECONDS) -> ShadowCounts:
        """Score and write what was taken, stop the thread."""
        self._stopping.set()
        self._thread.join(timeout_seconds)
        return self.counts

    async def _work(self) -> None:
        is_last = False
        while not is_last:
            stopping = self._stopping.is_set()  # before the queue is emptied: what came before is scored
            while self._queue and not self.log.is_due(self.clock()):
                await self._shadow(*self._queue.popleft())
            is_last = stopping and not self._queue
            if is_last or self.log.is_due(self.clock()):
                self._write()
            if not self._queue and not is_last:
                await asyncio.sleep(POLL_SECONDS)
        if self._ranker is not None:
            await self._ranker.close()

    async def _shadow(self, ranking: Ranking, contract: Contract) -> None:
        try:
            scores, micros = await self._scores(ranking, contract)
        except MarqueeError as error:
            self.counts.failed += 1
            if str(error) != self._told:
                self._told = str(error)
                logger.warning("shadow %s cannot rank: %s", self.bundle.version, error)
            return
        entry = ShadowedRanking(ranking, self.bundle.version, scores, micros, self.clock())
        self.log.take(entry)

    async def _scores(
        self, ranking: Ranking, contract: Contract
    ) -> tuple[npt.NDArray[np.float32], dict[str, int]]:
        """float32 [candidates], and microseconds by stage. Raises MarqueeError."""
        if not self._reads_the_same(contract):
            second = await self._own_ranking(ranking)
            return second.scores, second.micros
        watch = Stopwatch()
        context = ranking.request.columns(self.bundle.contract)
        model_input = assemble(ranking.fetched.slate(context), self.bundle.contract)
        watch.lap("assemble")
        scores = self.bundle.booster.inplace_predict(model_input)
        watch.lap("score")
        return scores, watch.micros

    async def _own_ranking(self, ranking: Ranking) -> Ranking:
        """Read for oneself what the other contract did not."""
        if self._ranker is None:
            self._ranker = await open_ranker(
                self.bundle.path, redis_url=self.redis_url, settings=_off_the_path(self.settings)
            )
        request = replace(ranking.request, limit=0, explain=False)
        return await self._ranker(request, deadline=time.monotonic() + OWN_READ_SECONDS)

    def _reads_the_same(self, contract: Contract) -> bool:
        if self._compared is None or self._compared[0] is not contract:
            self._compared = (contract, covers(contract, self.bundle.contract))
        return self._compared[1]

    def _write(self) -> None:
        rows = self.log.waiting
        try:
            self.log.write(self.clock())
        except (OSError, pa.ArrowException) as error:
            self.counts.unwritten += rows
            logger.warning("shadow log dropped %d requests: %s", rows, error)
        else:
            self.counts.logged += rows


def covers(served: Contract, second: Contract) -> bool:
    """Whether what is fetched for `served` is all that `second` reads, by the same definitions."""
    views = {view.name: view for view in served.views}
    for view in second.views:
        same = views.get(view.name)
        if same is None or served.project != second.project:
            return False
        if (same.join_keys, same.ttl_seconds, same.fingerprint) != (
            view.join_keys,
            view.ttl_seconds,
            view.fingerprint,
        ):
            return False
        kinds = {declared.name: declared.value_type for declared in same.fields}
        if any(kinds.get(declared.name) != declared.value_type for declared in view.fields):
            return False
    return True


def _off_the_path(settings: ServiceSettings) -> ServiceSettings:
    """Patient, without memory of its own, and complete or not at all."""
    return replace(
        settings,
        cache=replace(settings.cache, items=0, users=0, preload_seconds=0.0),
        budget=replace(
            settings.budget, feature_seconds=OWN_READ_SECONDS / 2, scoring_seconds=OWN_READ_SECONDS / 2
        ),
        levels=replace(settings.levels, lowest=0),
    )
