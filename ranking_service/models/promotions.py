"""Which bundle was promoted when, by whom and why: a log that only grows, and whose last entry is in force."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum

from feature_repo.errors import BundleError


class Action(StrEnum):
    """How a version came to be the promoted one."""

    PROMOTE = "promote"
    ROLLBACK = "rollback"


@dataclass(frozen=True)
class Promotion:
    """One entry. Entries are ordered by number; of two made at the same moment the later name is in force."""

    number: int
    """1 for the first."""
    action: Action
    version: str
    sha256: str
    """The manifest's own hash: which bundle of that name was meant."""
    at: datetime
    by: str
    note: str = ""
    key: str = field(default_factory=lambda: uuid.uuid4().hex[:12])
    """Keeps entries apart that two processes number alike."""

    @property
    def name(self) -> str:
        """Of its file; sorts as the entries do."""
        return f"{self.number:08d}-{self.key}.json"

    def to_json(self) -> bytes:
        return json.dumps({**asdict(self), "at": self.at.isoformat()}, indent=1).encode()

    @classmethod
    def from_json(cls, content: bytes, where: str) -> Promotion:
        """Raises BundleError for anything but a whole entry."""
        try:
            raw = json.loads(content)
            entry = cls(
                **{**raw, "action": Action(raw["action"]), "at": datetime.fromisoformat(raw["at"])},
            )
        except (ValueError, TypeError, KeyError) as error:
            raise BundleError(
                f"{where} is no whole promotion ({error}); remove it, the entry before is then in force"
            ) from error
        return entry


def standing(history: Iterable[Promotion]) -> list[Promotion]:
    """The promotions that rollbacks have not withdrawn, oldest first; the last one is in force.

    A rollback withdraws everything promoted after the version it names, so two made at once withdraw one.
    """
    stack: list[Promotion] = []
    for entry in history:
        if entry.action is Action.ROLLBACK:
            while stack and stack[-1].version != entry.version:
                stack.pop()
        if stack and stack[-1].version == entry.version:
            stack.pop()
        stack.append(entry)
    return stack


def before(history: Sequence[Promotion]) -> Promotion:
    """What a rollback goes back to. Raises BundleError where there is nothing."""
    stack = standing(history)
    if len(stack) < 2:
        now = f"{stack[0].version} is the first that was promoted" if stack else "nothing was promoted yet"
        raise BundleError(f"nothing to go back to: {now}; name one with `marquee model promote`")
    return stack[-2]
