"""One request as a value, checked field by field before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict

from feature_repo.errors import RequestError
from ranking_service.client.values import Priority
from ranking_service.proto import ranking_pb2

LARGEST_COUNT = 2**32 - 1
LATEST_SECONDS = 253_402_300_799
"""The proto's timestamps end with the year 9999."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRIORITIES = {
    Priority.INTERACTIVE: ranking_pb2.PRIORITY_INTERACTIVE,
    Priority.PREFETCH: ranking_pb2.PRIORITY_PREFETCH,
}


class RankFields(TypedDict, total=False):
    """What `rank` takes beside user and candidates: RankRequest's fields, for type checkers."""

    surface: str
    device: str
    at: datetime | float | None
    session_position: int | None
    features: Mapping[str, float | str] | None
    limit: int
    explain: bool
    request_id: str
    model: str
    priority: Priority | str


@dataclass(frozen=True, kw_only=True)
class RankRequest:
    """Whom to rank what for; the proto says what the fields mean."""

    user_id: str
    candidate_ids: Sequence[str]
    """At least one, no empty id, none twice."""
    surface: str = ""
    device: str = ""
    at: datetime | float | None = None
    """An aware instant, or Unix seconds; None is now."""
    session_position: int | None = None
    features: Mapping[str, float | str] | None = None
    """Further context features the model declares."""
    limit: int = 0
    """Items returned; 0 is all."""
    explain: bool = False
    request_id: str = ""
    model: str = ""
    """Empty is the server's default."""
    priority: Priority | str = Priority.INTERACTIVE

    def message(self) -> ranking_pb2.RankRequest:
        """As sent. Raises RequestError naming the first field that is wrong."""
        _check_id("user_id", self.user_id)
        _check_candidates(self.candidate_ids)
        for name in ("surface", "device", "request_id", "model"):
            _check_text(name, getattr(self, name))
        _check_count("limit", self.limit)
        return ranking_pb2.RankRequest(
            request_id=self.request_id,
            user_id=self.user_id,
            candidate_ids=self.candidate_ids,
            context=self._context(),
            limit=self.limit,
            explain=bool(self.explain),
            model=self.model,
            priority=_priority(self.priority),
        )

    def _context(self) -> ranking_pb2.Context:
        if self.session_position is not None:
            _check_count("session_position", self.session_position)
        context = ranking_pb2.Context(
            surface=self.surface, device=self.device, session_position=self.session_position
        )
        if self.at is not None:
            _set_time(context, self.at)
        for name, value in (self.features or {}).items():
            _check_text("features", name)
            _set_feature(context.features[name], value, f'context.features["{name}"]')
        return context


def _check_candidates(candidate_ids: Any) -> None:
    field = "candidate_ids"
    if isinstance(candidate_ids, (str, bytes)) or not isinstance(candidate_ids, Sequence):
        raise RequestError(field, f"is {type(candidate_ids).__name__}; give a list of item ids")
    if not candidate_ids:
        raise RequestError(field, "is empty; give at least one item id")
    try:
        fine = all(candidate_ids) and len(set(candidate_ids)) == len(candidate_ids)
        "".join(candidate_ids).encode()
    except (TypeError, UnicodeEncodeError):
        fine = False
    if fine:
        return
    seen: set[str] = set()
    for place, item in enumerate(candidate_ids):
        _check_id(f"{field}[{place}]", item)
        if item in seen:
            raise RequestError(f"{field}[{place}]", f"{item!r} is there already; send each item once")
        seen.add(item)


def _check_id(field: str, text: Any) -> None:
    _check_text(field, text)
    if not text:
        raise RequestError(field, "is empty; give an id")


def _check_text(field: str, text: Any) -> None:
    if not isinstance(text, str):
        raise RequestError(field, f"is {text!r}, which is no text; ids and names are texts")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(field, f"{text!r} is not text that UTF-8 can hold ({error.reason})") from error


def _check_count(field: str, count: Any) -> None:
    if isinstance(count, bool) or not isinstance(count, int):
        raise RequestError(field, f"is {count!r}; expected a whole number")
    if not 0 <= count <= LARGEST_COUNT:
        raise RequestError(field, f"{count} is out of range; expected 0 or more, at most {LARGEST_COUNT}")


def _priority(priority: Priority | str) -> ranking_pb2.Priority:
    try:
        return PRIORITIES[Priority(priority)]
    except ValueError as error:
        known = ", ".join(Priority)
        raise RequestError("priority", f"is {priority!r}; expected one of {known}") from error


def _set_time(context: ranking_pb2.Context, at: Any) -> None:
    """To the microsecond."""
    if isinstance(at, datetime):
        if at.tzinfo is None:
            raise RequestError("at", f"{at} has no time zone; use an aware datetime")
        micros = (at - EPOCH) // timedelta(microseconds=1)
    elif _is_number(at) and 0 <= at <= LATEST_SECONDS:
        micros = round(at * 1e6)
    else:
        raise RequestError("at", f"{at!r} is no Unix time in seconds from 1970 to 9999")
    context.request_time.seconds, rest = divmod(micros, 10**6)
    context.request_time.nanos = rest * 1000


def _set_feature(target: ranking_pb2.ContextValue, value: Any, field: str) -> None:
    if isinstance(value, str):
        _check_text(field, value)
        target.text = value
        return
    number = _float(value, field)
    if not math.isfinite(number):
        raise RequestError(field, f"is {value}; send a finite number, or leave it out where it is unknown")
    target.number = number


def _float(value: Any, field: str) -> float:
    """Numbers of numpy count too."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise RequestError(field, f"is {value!r}; expected a number or a text") from error


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
