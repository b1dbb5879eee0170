"""`marquee bench skew --own`: which days of a workspace's events are served, what is asked, and one night of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.errors import EventDataError, MissingInputError
from materialization.events.store import EventStore
from materialization.simulator.run import START, simulate
from ranking_service.online.request import RankRequest
from skew_checks.bench.arrivals import slates_of
from skew_checks.bench.lagging import otherwise_padded
from skew_checks.bench.run import Plan, chosen, run
from skew_checks.bench.world import LEAST_DAYS, own_days, own_world

DAY = timedelta(days=1)
MONDAY = datetime(2022, 4, 25, tzinfo=UTC)


def test_the_newest_friday_before_a_whole_saturday_is_served() -> None:
    days = own_days(MONDAY - timedelta(hours=9), MONDAY + 13 * DAY + timedelta(hours=15))
    assert (days.first, days.served, days.end) == (MONDAY, MONDAY + 11 * DAY, MONDAY + 13 * DAY)
    assert days.has_weekend


def test_long_histories_are_cut_to_the_last_days() -> None:
    days = own_days(MONDAY - 365 * DAY, MONDAY + 13 * DAY)
    assert (days.first, days.served) == (MONDAY, MONDAY + 11 * DAY)


def test_without_such_a_friday_the_last_whole_day_is_served() -> None:
    days = own_days(MONDAY, MONDAY + 9 * DAY - timedelta(hours=2))
    assert (days.served, days.end, days.has_weekend) == (MONDAY + 7 * DAY, MONDAY + 8 * DAY, False)
    nearly = own_days(MONDAY + timedelta(minutes=4), MONDAY + 9 * DAY - timedelta(minutes=2))
    assert nearly.served == MONDAY + 8 * DAY


def test_less_than_a_week_is_too_little() -> None:
    with pytest.raises(EventDataError, match=f"6 whole days of events are too few; have {LEAST_DAYS + 1}"):
        own_days(MONDAY, MONDAY + 6 * DAY)
    with pytest.raises(EventDataError, match="0 whole days"):
        own_days(MONDAY, MONDAY)


def test_short_requests_are_filled_up_and_long_ones_kept() -> None:
    asked = [
        RankRequest(
            request_id=str(number),
            user_id=f"u{number}",
            candidate_ids=tuple(f"i{number}-{place}" for place in range(width)),
            request_timestamp=float(number),
        )
        for number, width in enumerate([1, 2, 7] * 20)
    ]
    made = slates_of(asked, count=30, candidates=5)
    assert len(made) == 30
    assert [request.request_timestamp for request in made] == sorted(
        {request.request_timestamp for request in made}
    )
    for request in made:
        own = asked[int(request.request_id)].candidate_ids
        assert request.candidate_ids[: len(own)] == own
        assert len({*request.candidate_ids}) == len(request.candidate_ids) == max(5, len(own))
    assert len(slates_of(asked, count=1000, candidates=5)) == len(asked)
    assert slates_of([], count=3, candidates=5) == ()


def test_an_id_is_padded_otherwise() -> None:
    padded = {name: otherwise_padded(name) for name in ("u000012", "u12", "000", "12", "ab1")}
    assert padded == {"u000012": "u12", "u12": "u0012", "000": "0", "12": "0012", "ab1": "00ab1"}


def test_a_night_of_a_workspaces_own_events(tmp_path: Path) -> None:
    events = tmp_path / "mine" / "events"
    simulate(EventStore(events), users=60, items=50, days=8, seed=2, start=START)
    before = {path: path.stat().st_mtime_ns for path in sorted(events.rglob("*"))}
    plan = chosen(("eviction", "a-a"), Plan(shares=(0.3,), nights=1))
    with own_world(tmp_path / "world", events) as world:
        assert world.day == START + 7 * DAY
        nights = list(run(world, tmp_path, plan))
    assert [(night.name, night.found, night.named, night.wrong) for night in nights] == [
        ("eviction", True, True, 0),
        ("a-a", False, False, 0),
    ]
    assert {path: path.stat().st_mtime_ns for path in sorted(events.rglob("*"))} == before


def test_a_workspace_without_events_says_so(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    with (
        pytest.raises(MissingInputError, match="there are no events"),
        own_world(tmp_path / "world", tmp_path / "events"),
    ):
        pass
