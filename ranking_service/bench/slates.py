"""Whom a benchmark ranks for, and what; and the file by which its processes learn of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ranking_service.proto import ranking_pb2

SURFACE = "home"
PARTS, EMPTY = "parts", "empty"
"""What the handler of a floor does: the bare fetch and the bare model, or nothing."""


@dataclass(frozen=True)
class Slate:
    """One user and the items to rank for them."""

    user_id: str
    item_ids: tuple[str, ...]

    def first(self, count: int) -> Slate:
        """The first `count` items of it."""
        return Slate(self.user_id, self.item_ids[:count])

    def message(self, at: datetime) -> ranking_pb2.RankRequest:
        """As a client sends it."""
        context = ranking_pb2.Context(surface=SURFACE)
        context.request_time.FromDatetime(at.astimezone(UTC).replace(tzinfo=None))
        return ranking_pb2.RankRequest(user_id=self.user_id, candidate_ids=self.item_ids, context=context)


@dataclass(frozen=True)
class Case:
    """What every process of a benchmark needs to know."""

    bundle: Path
    redis_url: str
    at: datetime
    """The instant the requests rank as of."""
    slates: tuple[Slate, ...]

    def messages(self) -> list[ranking_pb2.RankRequest]:
        """One for each slate."""
        return [slate.message(self.at) for slate in self.slates]

    def write(self, path: Path) -> Path:
        """For another process to `read`."""
        raw = {**asdict(self), "bundle": str(self.bundle), "at": self.at.isoformat()}
        path.write_text(json.dumps(raw), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> Case:
        raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        slates = tuple(Slate(one["user_id"], tuple(one["item_ids"])) for one in raw["slates"])
        return cls(Path(raw["bundle"]), raw["redis_url"], datetime.fromisoformat(raw["at"]), slates)


def cut(slates: Sequence[Slate], candidates: int) -> tuple[Slate, ...]:
    """The same users, with the first `candidates` of their items."""
    return tuple(slate.first(candidates) for slate in slates)
