"""Keeps a running server on the promoted bundle: look, try out in another process, switch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from feature_repo.errors import BundleStoreError, MarqueeError, OnlineStoreError
from ranking_service.models.promotions import Promotion
from ranking_service.models.registry import FileState, Registry

LONGEST_WAIT_SECONDS = 60.0
"""Between two looks while the registry, or Redis, cannot be asked; until then each wait is twice the last."""
MOST_DOUBLINGS = 16

logger = logging.getLogger(__name__)


class TryOut(Protocol):
    """Tells whether a bundle can be served; `Trial` is one."""

    async def __call__(self, path: Path, sha256: str | None = None) -> None:
        """Raises MarqueeError with the reason if not, OnlineStoreError when it cannot be told now."""


class Refused(NamedTuple):
    """A promoted version that is not served, and why."""

    version: str
    reason: str


class _Seen(NamedTuple):
    """What a trial was about; it is not repeated before this changes."""

    promotion: str
    files: FileState


@dataclass
class Follower:
    """Follows one registry; `run` is a task of the server's event loop.

    A version that is refused leaves the one that is served in place. It is reported once, stands in `refused`, and
    is tried again when somebody promotes again or its files change: the latter mends a folder that was still being
    copied when it was promoted. Where Redis cannot be asked, it is tried again later, less and less often. What is no
    longer promoted after its trial is not switched to.
    """

    registry: Registry
    switch: Callable[[Path], Awaitable[None]]
    """Puts a bundle that passed its trial in the place of the one served; may raise MarqueeError."""
    try_out: TryOut
    every_seconds: float
    serving: str
    """The version that is served."""
    refused: Refused | None = None
    switches: int = 0
    refusals: int = 0
    trouble: str = ""
    """What keeps the registry from being read, or a trial from being made; empty when nothing does."""

    def __post_init__(self) -> None:
        self._judged: _Seen | None = None
        self._troubled_looks = 0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            pause = self.every_seconds * 2**self._troubled_looks
            await asyncio.sleep(min(pause, max(LONGEST_WAIT_SECONDS, self.every_seconds)))
            await self.look()

    async def look(self) -> None:
        """Once: switch if there is another promoted bundle, and it can be served."""
        try:
            promotion = await asyncio.to_thread(self.registry.promoted)
            if promotion is None or promotion.version == self.serving:
                self._settle(None)
                return
            seen = _Seen(promotion.name, await asyncio.to_thread(self.registry.state, promotion.version))
        except MarqueeError as error:
            self._troubled(str(error))
            return
        if seen != self._judged:
            await self._change_to(promotion, seen)

    async def _change_to(self, promotion: Promotion, seen: _Seen) -> None:
        try:
            path = await asyncio.to_thread(self.registry.folder, promotion.version)
            await self.try_out(path, promotion.sha256)
            if await asyncio.to_thread(self.registry.promoted) != promotion:
                return
            await self.switch(path)
        except (OnlineStoreError, BundleStoreError) as error:
            self._troubled(f"bundle {promotion.version} cannot be tried now: {error}")
            return
        except MarqueeError as error:
            self._refuse(promotion, str(error), seen)
            return
        logger.info("now serving bundle %s instead of %s", promotion.version, self.serving)
        self.serving = promotion.version
        self.switches += 1
        self._settle(None)

    def _refuse(self, promotion: Promotion, reason: str, seen: _Seen) -> None:
        refused = Refused(promotion.version, reason)
        if refused != self.refused:
            logger.error("bundle %s is refused, %s stays: %s", promotion.version, self.serving, reason)
        self.refusals += 1
        self._settle(seen)
        self.refused = refused

    def _troubled(self, trouble: str) -> None:
        if trouble != self.trouble:
            logger.warning("following promotions: %s; %s stays", trouble, self.serving)
        self.trouble = trouble
        self._troubled_looks = min(self._troubled_looks + 1, MOST_DOUBLINGS)

    def _settle(self, judged: _Seen | None) -> None:
        self.refused, self._judged, self.trouble, self._troubled_looks = None, judged, "", 0
