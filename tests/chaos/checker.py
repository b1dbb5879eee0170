"""Is each answer one that its level allows? Every score is recomputed from the ids."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from ranking_service.proto import ranking_pb2

from .calls import Call
from .canary import ABSENT, ITEM, PAIR, USER, VIEWS, WEEK, CanaryWorld, Floats, Known, Whole
from .timeline import Timeline, Versions

TOLERANCE = 1e-5
MODEL_FREE = 3
LAST_KNOWN_SECONDS = 3_600.0


class WrongAnswer(Exception):
    """An answer that no level allows; says what is wrong with it."""


@dataclass(frozen=True)
class Complaint:
    """A wrong answer."""

    call: Call
    what: str

    def __str__(self) -> str:
        return f"{self.call.request_id} (level {self.call.level}): {self.what}"


@dataclass(frozen=True)
class Checker:
    """Knows the world and what became of its rows."""

    world: CanaryWorld
    timeline: Timeline

    def complaints(self, calls: Iterable[Call]) -> list[Complaint]:
        """One for each wrong answer; sets each call's level."""
        found = []
        for call in calls:
            if not call.is_answered:
                continue
            try:
                self.check(call)
            except WrongAnswer as wrong:
                found.append(Complaint(call, str(wrong)))
        return found

    def check(self, call: Call) -> None:
        """Raises WrongAnswer."""
        try:
            response = ranking_pb2.RankResponse.FromString(call.body)
        except DecodeError as error:
            raise WrongAnswer(f"the response cannot be read: {error}") from error
        call.level = response.level
        _check_form(call, response)
        items, scores = self._ranked(call, response)
        if response.level == MODEL_FREE:
            return
        _check_order(call, items, scores)
        self._check_scores(call, response, items, scores)

    def _ranked(self, call: Call, response: ranking_pb2.RankResponse) -> tuple[Whole, Floats]:
        try:
            items = np.array([self.world.item_number(item.item_id) for item in response.items])
        except ValueError as error:
            raise WrongAnswer(str(error)) from error
        if len(items) != len(call.items) or not np.array_equal(np.sort(items), np.sort(call.items)):
            strangers = sorted(set(items.tolist()) - set(call.items.tolist()))
            raise WrongAnswer(
                f"{len(items)} items for {len(call.items)} candidates, {len(set(items.tolist()))} of them different, "
                f"not asked for: {strangers[:5]}"
            )
        return items, np.array([item.score for item in response.items], np.float32)

    def _check_scores(
        self, call: Call, response: ranking_pb2.RankResponse, items: Whole, scores: Floats
    ) -> None:
        """By what is said of each view; then, that no more old rows were used than were said to be last known."""
        degraded = {view.view: view for view in response.degraded_views}
        allowed = {
            plan.name: self._allowed(plan.name, call, items, degraded.get(plan.name)) for plan in VIEWS
        }
        right = self._best(call, items, scores, allowed)
        if not right.all():
            wrong = int(np.flatnonzero(~right)[0])
            raise WrongAnswer(
                f"{int((~right).sum())} of {len(items)} scores are not right; first is item {items[wrong]} with "
                f"{scores[wrong]:.6f}, {self._whose(int(items[wrong]), float(scores[wrong]), call.user)}; "
                f"degraded: {[(name, view.level, view.last_known_candidates) for name, view in degraded.items()]}"
            )
        for name, view in degraded.items():
            without = {**allowed, name: self._current_or_none(name, call, items)}
            used = int((~self._best(call, items, scores, without)).sum())
            if used > view.last_known_candidates:
                raise WrongAnswer(
                    f"{used} candidates have an old row of {name}, but {view.last_known_candidates} are said to"
                )

    def _best(self, call: Call, items: Whole, scores: Floats, allowed: dict[str, Versions]) -> Known:
        """Which scores are right, for the version of the user's row that makes most of them so."""
        nearest = np.zeros(len(items), np.bool_)
        for user_version, is_allowed in allowed[USER].items():
            if is_allowed.any() and not nearest.all():
                right = self._explained(call.user, items, scores, user_version, allowed[ITEM], allowed[PAIR])
                nearest = right if right.sum() > nearest.sum() else nearest
        return nearest

    def _explained(
        self, user: int, items: Whole, scores: Floats, user_version: int, of_item: Versions, of_pair: Versions
    ) -> Known:
        """Which scores some allowed pair of item and pair versions gives; bool [candidates]."""
        right = np.zeros(len(items), np.bool_)
        later: list[tuple[Whole, int, int]] = []
        for (item_version, item_allowed), (pair_version, pair_allowed) in product(
            of_item.items(), of_pair.items()
        ):
            places = np.flatnonzero(item_allowed & pair_allowed & ~right)
            if max(user_version, item_version, pair_version) > 0:
                later.append((places, item_version, pair_version))
            elif len(places):
                expected = self.world.scores(user, items[places], (user_version, item_version, pair_version))
                right[places] = np.abs(expected - scores[places]) <= TOLERANCE
        if later and not right.all():
            places = np.concatenate([some for some, _, _ in later])
            of_items = np.concatenate([np.full(len(some), version) for some, version, _ in later])
            of_pairs = np.concatenate([np.full(len(some), version) for some, _, version in later])
            expected = self.world.scores(user, items[places], (user_version, of_items, of_pairs))
            right[places[np.abs(expected - scores[places]) <= TOLERANCE]] = True
        return right

    def _allowed(self, name: str, call: Call, items: Whole, degraded: Any) -> Versions:
        """`degraded` is what the answer says of the view; None where it says nothing."""
        everyone = np.ones(len(items), np.bool_)
        if name == ITEM and call.time_offset is not None and call.time_offset > WEEK:
            return {ABSENT: everyone}
        if degraded is None:
            return self.timeline.current(name, call.user, items, since=call.sent, until=call.finished)
        if degraded.last_known_candidates:
            return self.timeline.ever(name, call.user, items, until=call.finished)
        return self._current_or_none(name, call, items)

    def _current_or_none(self, name: str, call: Call, items: Whole) -> Versions:
        """A view that was not read may still have the rows that the server's memory holds as current."""
        found = self.timeline.current(name, call.user, items, since=call.sent, until=call.finished)
        return {**found, ABSENT: np.ones(len(items), np.bool_)}

    def _whose(self, item: int, score: float, user: int) -> str:
        """A guess at where a wrong score comes from."""
        everybody = self.world.table((0, 0, 0))
        owners = np.argwhere(np.abs(everybody - score) <= TOLERANCE)[:3].tolist()
        expected = everybody[user, item]
        told = ", ".join(f"(user {owner}, item {thing})" for owner, thing in owners) or "nobody"
        return f"expected {expected:.6f}; it is the score of {told}"


def _check_form(call: Call, response: ranking_pb2.RankResponse) -> None:
    problems = list(_form_problems(call, response))
    if problems:
        raise WrongAnswer("; ".join(problems))


def _form_problems(call: Call, response: ranking_pb2.RankResponse) -> Iterator[str]:
    if response.request_id != call.request_id:
        yield f"it is the answer to {response.request_id}"
    if [item.rank for item in response.items] != list(range(len(response.items))):
        yield "ranks are not 0, 1, 2 ..."
    if response.level > MODEL_FREE:
        yield f"level {response.level} does not exist"
    levels = [view.level for view in response.degraded_views]
    strangers = {view.view for view in response.degraded_views} - {USER, ITEM, PAIR}
    if strangers:
        yield f"degraded views {sorted(strangers)} do not exist"
    if response.level == 0 and levels:
        yield "level 0, but views are degraded"
    if response.level in (1, 2) and max(levels, default=0) != response.level:
        yield f"level {response.level}, but its views say {levels}"
    if response.level and not response.reason:
        yield "degraded without a reason"
    if any(view.oldest_seconds > LAST_KNOWN_SECONDS for view in response.degraded_views):
        yield "rows older than the settings allow"


def _check_order(call: Call, items: Whole, scores: Floats) -> None:
    if not np.isfinite(scores).all():
        raise WrongAnswer("scores are not finite")
    if (np.diff(scores) > 0).any():
        raise WrongAnswer("scores are not in descending order")
    places = np.zeros(int(call.items.max()) + 1, np.int64)
    places[call.items] = np.arange(len(call.items))
    ties = np.diff(scores) == 0
    if (np.diff(places[items])[ties] < 0).any():
        raise WrongAnswer("equal scores do not keep the candidates' order")
