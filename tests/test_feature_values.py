"""Hand-computed features: a checkerboard world, and worlds of a few events at the edges of time."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import pytest
from worlds import (
    DAY,
    HOUR,
    INSTANT,
    MINUTE,
    MONDAY,
    Row,
    checkerboard,
    exposure,
    history,
    item,
    snapshots,
    user,
    watched,
    write_world,
)

from feature_repo.workspace import Workspace

NEXT_MONDAY = MONDAY + 7 * DAY
OTHER = exposure("somebody", "something", MONDAY - 20 * DAY)
"""Every store needs an exposure."""


def only(home: Path, view: str, as_of: datetime, *events: Row) -> dict[object, Row]:
    """The rows of one view in a world of these exposures."""
    return snapshots(write_world(home, [OTHER, *events]), as_of, [view])[view]


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return checkerboard(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def board_rows(board: Workspace) -> dict[str, dict[object, Row]]:
    """After 7 noons and 36 exposures a noon, half of them watched."""
    return snapshots(board, NEXT_MONDAY)


def test_windows_of_a_user_count_whole_days(board_rows: dict[str, dict[object, Row]]) -> None:
    u1 = board_rows["user_activity"]["u1"]
    for days in (1, 3, 7):
        assert u1[f"user_exposures_{days}d"] == 6 * days
        assert u1[f"user_clicks_{days}d"] == u1[f"user_long_views_{days}d"] == 3 * days
        assert u1[f"user_completions_{days}d"] == 3 * days
        assert u1[f"user_likes_{days}d"] == 0
    assert (u1["user_active_days_7d"], u1["user_distinct_items_7d"], u1["user_skips_7d"]) == (7, 6, 21)
    assert (u1["user_play_minutes_1d"], u1["user_play_minutes_7d"], u1["user_watched_share_7d"]) == (
        3,
        21,
        0.5,
    )


def test_rates_are_smoothed_toward_the_services_rate(board_rows: dict[str, dict[object, Row]]) -> None:
    """252 exposures, 126 clicks: the service's rates are (126 + 10 * prior) / 262."""
    clicks, completions, likes = (126 + 2) / 262, (126 + 1) / 262, 0.2 / 262
    u1, i1 = board_rows["user_activity"]["u1"], board_rows["item_popularity"]["i1"]
    assert u1["user_click_rate_1d"] == pytest.approx((3 + 10 * clicks) / 16)
    assert u1["user_completion_rate_7d"] == pytest.approx((21 + 10 * completions) / 52)
    assert i1["item_click_rate_3d"] == pytest.approx((9 + 20 * clicks) / 38)
    totals = board_rows["user_totals"]["u1"]
    assert totals["user_long_view_rate"] == pytest.approx((21 + 5 * clicks) / 47)
    assert totals["user_like_rate"] == pytest.approx(20 * likes / 62)
    author, genre = board_rows["item_author"]["i1"], board_rows["item_genre"]["i1"]
    assert author["author_click_rate"] == pytest.approx((63 + 20 * clicks) / 146)
    assert genre["genre_click_rate"] == pytest.approx((63 + 50 * clicks) / 176)
    assert genre["genre_best_long_view_rate"] == genre["genre_worst_long_view_rate"]


def test_an_item_counts_its_viewers_and_trend(board_rows: dict[str, dict[object, Row]]) -> None:
    i1, totals = board_rows["item_popularity"]["i1"], board_rows["item_totals"]["i1"]
    assert (i1["item_exposures_7d"], i1["item_viewers_7d"], i1["item_trend"]) == (42, 6, 1)
    assert (i1["item_watched_share_7d"], i1["item_play_seconds_7d"]) == (0.5, 30)
    assert (totals["item_exposures"], totals["item_long_views"], totals["item_popularity_rank"]) == (
        42,
        21,
        0,
    )
    assert totals["item_last_shown_at"] == (NEXT_MONDAY - 12 * HOUR).timestamp()


def test_authors_and_genres_add_up_their_items(board_rows: dict[str, dict[object, Row]]) -> None:
    author, genre = board_rows["item_author"]["i2"], board_rows["item_genre"]["i2"]
    assert (author["author_titles"], author["author_exposures"], author["author_viewers"]) == (3, 126, 6)
    assert (genre["genre_titles"], genre["genre_exposures"], genre["genre_trend"]) == (3, 126, 1)


def test_tastes_are_parallel_lists(board_rows: dict[str, dict[object, Row]]) -> None:
    u1, u2 = board_rows["user_tastes"]["u1"], board_rows["user_tastes"]["u2"]
    assert u1["user_genre_names"] == u1["user_author_ids"] == ["even", "odd"]
    assert u1["user_genre_exposures"] == u1["user_author_exposures"] == [21, 21]
    assert u1["user_genre_long_views"] == u1["user_author_long_views"] == [0, 21]
    assert u2["user_genre_long_views"] == [21, 0]
    assert (u1["user_favourite_genre"], u2["user_favourite_genre"]) == ("odd", "even")
    assert (u1["user_genre_count"], u1["user_author_count"]) == (2, 2)


def test_pairs_know_what_the_user_did_with_the_item(board_rows: dict[str, dict[object, Row]]) -> None:
    liked, skipped = board_rows["user_item"]["u1", "i3"], board_rows["user_item"]["u1", "i4"]
    assert (liked["pair_exposures"], liked["pair_clicks"], liked["pair_skips"]) == (7, 7, 0)
    assert (skipped["pair_exposures"], skipped["pair_clicks"], skipped["pair_skips"]) == (7, 0, 7)
    assert (liked["pair_best_watched_share"], skipped["pair_best_watched_share"]) == (1, 0)
    assert liked["pair_last_seen_at"] == (NEXT_MONDAY - 12 * HOUR).timestamp()


def test_rhythm_knows_noon_and_the_weekend(board_rows: dict[str, dict[object, Row]]) -> None:
    u1 = board_rows["user_rhythm"]["u1"]
    assert (u1["user_afternoon_share"], u1["user_night_share"], u1["user_mean_hour"]) == (1, 0, 12)
    assert u1["user_weekend_share"] == pytest.approx(2 / 7)
    assert (u1["user_session_length"], u1["user_usual_surface"], u1["user_usual_surface_share"]) == (
        6,
        "home",
        1,
    )
    assert (u1["user_surface_names"], u1["user_surface_exposures"]) == (["home"], [42])
    assert u1["user_recent_device"] is None


@pytest.mark.parametrize("days", [1, 3, 7])
def test_an_event_exactly_at_a_windows_start_is_in_and_one_before_it_is_out(
    tmp_path: Path, days: int
) -> None:
    events = (
        watched("u", "i", NEXT_MONDAY - days * DAY),
        watched("u", "j", NEXT_MONDAY - days * DAY - INSTANT),
    )
    row = only(tmp_path, "user_activity", NEXT_MONDAY, *events)["u"]
    earlier = 0 if days == 7 else 2
    assert row[f"user_clicks_{days}d"] == 1
    assert row["user_clicks_7d"] == (earlier or 1)


def test_an_event_exactly_at_the_snapshot_is_out_and_one_before_it_is_in(tmp_path: Path) -> None:
    events = watched("u", "i", NEXT_MONDAY), watched("u", "j", NEXT_MONDAY - INSTANT)
    rows = snapshots(write_world(tmp_path, [OTHER, *events]), NEXT_MONDAY)
    assert rows["user_activity"]["u"]["user_exposures_1d"] == 1
    assert rows["user_totals"]["u"]["user_exposures"] == 1
    assert set(rows["item_totals"]) == {"something", "j"}
    assert set(rows["user_item"]) == {("u", "j")}


def test_an_outcome_known_only_after_the_snapshot_is_out(tmp_path: Path) -> None:
    """Played from 23:50 to 00:10: at midnight nobody knows whether it was watched long."""
    late = watched("u", "i", NEXT_MONDAY - 10 * MINUTE, known=NEXT_MONDAY + 10 * MINUTE)
    workspace = write_world(tmp_path, [OTHER, late])
    assert "u" not in snapshots(workspace, NEXT_MONDAY)["user_totals"]
    assert "u" not in snapshots(workspace, NEXT_MONDAY + 10 * MINUTE)["user_totals"]
    assert (
        snapshots(workspace, NEXT_MONDAY + 10 * MINUTE + INSTANT)["user_totals"]["u"]["user_long_views"] == 1
    )


def test_an_event_of_the_future_is_out_even_if_its_source_claims_to_know_it(tmp_path: Path) -> None:
    early = watched("u", "i", NEXT_MONDAY + HOUR, known=NEXT_MONDAY - HOUR)
    assert "u" not in only(tmp_path, "user_totals", NEXT_MONDAY, early)


def test_before_the_first_event_there_are_no_rows_and_no_failure(board: Workspace) -> None:
    rows = snapshots(board, MONDAY)
    assert {name for name, found in rows.items() if found} == {
        "item_attributes", "item_author", "item_genre", "user_profile"
    }  # fmt: skip
    assert rows["item_author"]["i1"]["author_click_rate"] == pytest.approx(0.2)
    assert rows["item_genre"]["i1"]["genre_trend"] is None


def test_the_first_event_counts_from_the_next_instant(tmp_path: Path) -> None:
    workspace = write_world(tmp_path, [watched("u", "i", MONDAY)])
    assert not snapshots(workspace, MONDAY, ["user_totals"])["user_totals"]
    rows = snapshots(workspace, MONDAY + INSTANT, ["user_totals"])["user_totals"]
    assert rows["u"]["user_exposures"] == 1
    assert rows["u"]["user_click_rate"] == pytest.approx((1 + 10 * 3 / 11) / 11)


def test_a_user_without_events_has_a_profile_and_nothing_else(tmp_path: Path) -> None:
    rows = snapshots(write_world(tmp_path, [OTHER], users=[user("quiet", country="DE")]), NEXT_MONDAY)
    assert [name for name, found in rows.items() if "quiet" in found] == ["user_profile"]
    assert rows["user_profile"]["quiet"]["user_country"] == "DE"
    assert rows["user_profile"]["quiet"]["user_follow_count"] is None


def test_a_user_with_a_history_only_is_known_by_it(tmp_path: Path) -> None:
    """`c` was liked, `d` watched long, both too long ago to be among the remembered exposures."""
    past = history("u", exposed=["a", "b", "a"], long_viewed=["a", "d"], liked=["b", "c"])
    catalogue = [item(name, genres=[f"g{name}", "all"], author_id=f"w{name}") for name in "abcd"]
    rows = snapshots(write_world(tmp_path, [OTHER], items=catalogue, histories=[past]), NEXT_MONDAY)
    totals, tastes = rows["user_totals"]["u"], rows["user_tastes"]["u"]
    assert (totals["user_exposures"], totals["user_history_length"]) == (0, 3)
    assert (totals["user_remembered_exposures"], totals["user_remembered_likes"]) == (3, 2)
    assert totals["user_remembered_long_view_rate"] == pytest.approx(2 / 3)
    assert totals["user_long_view_rate"] == pytest.approx((2 + 5 * 2 / 11) / 8)
    assert totals["user_last_seen_at"] == (MONDAY - HOUR).timestamp()
    assert tastes["user_author_ids"] == ["wa", "wb", "wc", "wd"]
    assert tastes["user_author_exposures"] == [2, 1, 1, 1]
    assert tastes["user_author_long_views"] == [2, 0, 0, 1]
    assert tastes["user_author_likes"] == [0, 1, 1, 0]
    assert tastes["user_genre_names"] == ["all", "ga", "gb", "gc", "gd"]
    assert tastes["user_genre_exposures"] == [5, 2, 1, 1, 1]
    assert rows["item_totals"]["a"]["item_remembered_exposures"] == 2


def test_at_most_a_hundred_authors_are_kept_those_met_most(tmp_path: Path) -> None:
    catalogue = [item(f"i{n:03}", author_id=f"w{n:03}") for n in range(120)]
    often = [watched("u", f"i{n:03}", MONDAY + n * MINUTE) for n in range(120)]
    again = [watched("u", f"i{n:03}", MONDAY + DAY) for n in range(100, 120)]
    tastes = snapshots(write_world(tmp_path, often + again, items=catalogue), NEXT_MONDAY)["user_tastes"]["u"]
    kept = [*range(80), *range(100, 120)]
    assert tastes["user_author_ids"] == [f"w{n:03}" for n in kept]
    assert tastes["user_author_exposures"] == [1 if n < 100 else 2 for n in kept]
    assert tastes["user_author_count"] == 100


def test_surfaces_are_counted_apart_and_the_usual_one_wins_ties_by_name(tmp_path: Path) -> None:
    events = (
        watched("u", "i", MONDAY + 6 * DAY, surface="search", device="tv"),
        exposure("u", "i", MONDAY + 6 * DAY + HOUR, surface="home", device="phone"),
        watched("v", "i", MONDAY + 6 * DAY, surface="home"),
    )
    rows = snapshots(write_world(tmp_path, [OTHER, *events]), NEXT_MONDAY)
    found, rhythm = rows["item_surfaces"]["i"], rows["user_rhythm"]["u"]
    assert (found["item_surface_names"], found["item_surface_exposures"]) == (["home", "search"], [2, 1])
    assert (found["item_surface_clicks"], found["item_surface_long_views"]) == ([1, 1], [1, 1])
    assert (rhythm["user_usual_surface"], rhythm["user_usual_surface_share"]) == ("search", 0.5)
    assert rhythm["user_recent_device"] == "phone"


def test_the_last_watched_share_is_unknown_where_the_last_length_was(tmp_path: Path) -> None:
    events = watched("u", "i", MONDAY + 5 * DAY), watched("u", "i", MONDAY + 6 * DAY, duration_ms=None)
    row = only(tmp_path, "user_item", NEXT_MONDAY, *events)["u", "i"]
    assert row["pair_last_watched_share"] is None
    assert row["pair_best_watched_share"] == 1


def test_an_unknown_length_counts_in_no_mean_watched_share(tmp_path: Path) -> None:
    """It is missing, not a threefold replay."""
    events = exposure("u", "i", MONDAY + 5 * DAY), watched("u", "j", MONDAY + 6 * DAY, duration_ms=None)
    rows = snapshots(write_world(tmp_path, [OTHER, *events]), NEXT_MONDAY)
    assert rows["user_activity"]["u"]["user_watched_share_7d"] == 0
    assert rows["item_popularity"]["j"]["item_watched_share_7d"] is None
    assert rows["item_totals"]["j"]["item_watched_share"] is None


def test_replays_count_three_times_at_most(tmp_path: Path) -> None:
    row = only(tmp_path, "user_item", NEXT_MONDAY, watched("u", "i", MONDAY + 6 * DAY, play_ms=600_000))[
        "u", "i"
    ]
    assert row["pair_best_watched_share"] == row["pair_last_watched_share"] == 3


def test_mean_hour_goes_around_midnight(tmp_path: Path) -> None:
    events = watched("u", "i", MONDAY + 5 * DAY + 23 * HOUR), watched("u", "i", MONDAY + 6 * DAY + HOUR)
    hour = only(tmp_path, "user_rhythm", NEXT_MONDAY, *events)["u"]["user_mean_hour"]
    assert math.isclose(math.cos(hour * math.pi / 12), 1, abs_tol=1e-9)


def test_the_newest_known_version_of_an_item_counts(tmp_path: Path) -> None:
    versions = [item("i", genres=["old"]), item("i", genres=["new", "er"], known=NEXT_MONDAY, language="fr")]
    workspace = write_world(tmp_path, [OTHER], items=versions)
    before = snapshots(workspace, NEXT_MONDAY, ["item_attributes"])["item_attributes"]["i"]
    after = snapshots(workspace, NEXT_MONDAY + INSTANT, ["item_attributes"])["item_attributes"]["i"]
    assert (before["item_genres"], before["item_language"]) == (["old"], None)
    assert (after["item_genres"], after["item_first_genre"], after["item_language"]) == (
        ["new", "er"],
        "new",
        "fr",
    )


def test_pixels_and_lengths_of_zero_do_not_divide(tmp_path: Path) -> None:
    catalogue = [item("i", width=1920, height=0, duration_ms=90_500, cast=["x", "y"], countries=["FR", "DE"])]
    row = snapshots(write_world(tmp_path, [OTHER], items=catalogue), NEXT_MONDAY)["item_attributes"]["i"]
    assert row["item_aspect_ratio"] is None
    assert (row["item_duration_seconds"], row["item_cast_size"], row["item_country"]) == (90.5, 2, "FR")
