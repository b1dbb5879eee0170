"""The models of a running server by name; one is exchanged for another between two requests.

Belongs to one event loop: nothing here waits, so that what a request sees is either the old model or the new.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from feature_repo.errors import RequestError, SettingError
from ranking_service.bundle import PROMOTED, Bundle
from ranking_service.models.registry import Registry

DEFAULT = PROMOTED
"""Name of the model that ranks where a request names none."""


class Closable(Protocol):
    """A ranker, as far as it is looked at here."""

    @property
    def bundle(self) -> Bundle:
        """What it ranks with."""

    async def close(self) -> None:
        """Let go of its connections."""


R = TypeVar("R", bound=Closable)


class _Kept(Generic[R]):
    """A ranker and how many requests are using it."""

    def __init__(self, ranker: R) -> None:
        self.ranker = ranker
        self.leases = 0
        self.idle = asyncio.Event()
        self.idle.set()


class ServedModels(Generic[R]):
    """Rankers by model name; the default one has the name "promoted"."""

    def __init__(self, rankers: Mapping[str, R]) -> None:
        self._kept = {name: _Kept(ranker) for name, ranker in rankers.items()}
        self._closing: set[asyncio.Task[None]] = set()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._kept)

    def versions(self) -> dict[str, str]:
        """Bundle version by model name."""
        return {name: kept.ranker.bundle.version for name, kept in self._kept.items()}

    def ranker(self, name: str = "") -> R:
        """The ranker of that name, the default one for "". Raises RequestError naming those there are.

        To be used at once: what outlasts an `await` takes `leased`.
        """
        return self._find(name).ranker

    @contextmanager
    def leased(self, name: str = "") -> Iterator[R]:
        """The same, not closed before the block ends, whatever is switched meanwhile."""
        kept = self._find(name)
        kept.leases += 1
        kept.idle.clear()
        try:
            yield kept.ranker
        finally:
            kept.leases -= 1
            if not kept.leases:
                kept.idle.set()

    def switch(self, name: str, ranker: R) -> asyncio.Task[None]:
        """From now on `name` is `ranker`; the task closes the one before once no request uses it."""
        before = self._kept.get(name)
        self._kept = {**self._kept, name: _Kept(ranker)}
        task = asyncio.create_task(_close(before))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        return task

    async def close(self) -> None:
        """Close every ranker after the requests that use it; there are no models afterwards."""
        last, self._kept = self._kept, {}
        await asyncio.gather(*self._closing, *(_close(kept) for kept in last.values()))

    def _find(self, name: str) -> _Kept[R]:
        kept = self._kept.get(name or DEFAULT)
        if kept is None:
            raise RequestError(
                "model",
                f"{name!r} is none of this server's; it has {', '.join(self._kept) or 'none any more'}",
            )
        return kept


async def _close(kept: _Kept[R] | None) -> None:
    if kept is not None:
        await kept.idle.wait()
        await kept.ranker.close()


def named_bundles(registry: Registry, default: str | None, models: Mapping[str, str]) -> dict[str, Path]:
    """Bundle folder by model name: `default` (None: the promoted one) and those of the `[models]` table.

    Raises SettingError for a further model of the default's name, BundleError for a bundle that is not there.
    """
    if DEFAULT in models:
        raise SettingError(
            f"[models] names {DEFAULT!r}, which is the default model's name; choose another, "
            "or `marquee serve --bundle` for another default"
        )
    return {DEFAULT: registry.chosen(default), **{name: registry.chosen(who) for name, who in models.items()}}


def followers_of(default: str | None, models: Mapping[str, str]) -> tuple[str, ...]:
    """The model names that a promotion changes: those not fixed to a version or a folder."""
    named = {DEFAULT: default or PROMOTED, **models}
    return tuple(name for name, who in named.items() if who == PROMOTED)
