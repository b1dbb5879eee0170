"""`marquee bench skew --own`: which days of a workspace's events are served, what is asked, and one night of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.errors import EventDataError, MissingInputError
from materialization.events.store import EventStore
from materialization.simulator.run import START, simulate
from ranking_service.online.request import RankRequest
from skew_checks.bench.arrivals import requests_of, slates_of
from skew_checks.bench.lagging import otherwise_padded
from skew_checks.bench.partitions import with_columns
from skew_checks.bench.run import Plan, chosen, fresh, run
from skew_checks.bench.world import LEAST_DAYS, World, own_days, own_world
from skew_checks.bench.wrong_values import SLICED_BY, one_slice

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
    padded = {name: otherwise_padded(name) for name in ("u000012", "user12", "000", "12", "a1-07", "bo")}
    assert padded == {
        "u000012": "u12",
        "user12": "user0012",
        "000": "0",
        "12": "0012",
        "a1-07": "a001-07",
        "bo": "bo",
    }


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


def test_a_day_on_which_nobody_came_is_named(skew_bench_world: World) -> None:
    with pytest.raises(EventDataError, match="nobody was shown anything on 2024-06-12"):
        requests_of(skew_bench_world.workspace, START + 100 * DAY)


def test_users_of_whom_nothing_is_known_are_no_slice(skew_bench_world: World, tmp_path: Path) -> None:
    with fresh(skew_bench_world, tmp_path, seed=1) as night:
        profile = night.view("user_profile")
        for path in night.partitions.instants(profile).values():
            table = pq.read_table(path, partitioning=None)
            blank = pa.array([None] * len(table), pa.string())
            night.partitions.rewrite(path, with_columns(table, dict.fromkeys(SLICED_BY, blank)))
        night.partitions._read.update(
            {
                path: pq.read_table(path, partitioning=None)
                for path in night.partitions.instants(profile).values()
            }
        )
        assert one_slice(night, 0.3).units == 0


def test_a_workspace_without_events_says_so(tmp_path: Path) -> None:
    (tmp_path / "events").mkdir()
    with (
        pytest.raises(MissingInputError, match="there are no events"),
        own_world(tmp_path / "world", tmp_path / "events"),
    ):
        pass
