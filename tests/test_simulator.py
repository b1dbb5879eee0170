"""The simulated service is believable, repeatable, and knows how good a ranking can be."""

from __future__ import annotations

import hashlib
import io
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from feature_repo.errors import EventDataError, SettingError
from materialization.events.describe import describe, render
from materialization.events.store import EventStore
from materialization.simulator.best_possible import best_ndcg, mean_ndcg
from materialization.simulator.memory import Memory
from materialization.simulator.run import START, Summary, simulate

DAYS = 10


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[EventStore, Summary]:
    """600 users, 800 titles, ten days."""
    store = EventStore(tmp_path_factory.mktemp("simulated") / "events")
    return store, simulate(store, users=600, items=800, days=DAYS, seed=11)


@pytest.fixture(scope="module")
def store(run: tuple[EventStore, Summary]) -> EventStore:
    return run[0]


@pytest.fixture(scope="module")
def exposures(store: EventStore) -> pd.DataFrame:
    """Exposures with their title's and user's columns and their truth."""
    items = store.read("items").to_pandas()[
        ["item_id", "release_timestamp", "created_timestamp", "duration_ms"]
    ]
    users = store.read("users").to_pandas()[["user_id", "signup_timestamp", "created_timestamp"]]
    rows = store.read("exposures").to_pandas().merge(store.read("truth").to_pandas(), on="exposure_id")
    rows = rows.merge(items, on="item_id", suffixes=("", "_item"))
    return rows.merge(users, on="user_id", suffixes=("", "_user"))


def digest(store: EventStore) -> str:
    """One hash over the names and bytes of all files."""
    total = hashlib.sha256()
    for file in sorted(path for path in store.root.rglob("*") if path.is_file()):
        total.update(str(file.relative_to(store.root)).encode() + file.read_bytes())
    return total.hexdigest()


def test_the_seed_alone_decides_every_byte(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        made = EventStore(tmp_path / name / "events")
        simulate(made, users=80, items=60, days=3, seed=seed)
        digests.append(digest(made))
    assert digests[0] == digests[1] != digests[2]


def test_the_summary_tells_what_is_in_the_store(run: tuple[EventStore, Summary]) -> None:
    store, summary = run
    assert store.source()["rows"]["exposures"] == store.source()["rows"]["truth"] == summary.exposures
    assert (summary.users, summary.items, summary.days) == (600, 800, DAYS)
    assert describe(store).requests == summary.requests


def test_rates_are_believable(run: tuple[EventStore, Summary], exposures: pd.DataFrame) -> None:
    summary = run[1]
    assert 0.15 < summary.click_rate < 0.25
    assert 0.08 < summary.completed_rate < 0.16
    assert summary.completed_rate < summary.long_view_rate < summary.click_rate
    user_days = exposures.groupby(["user_id", exposures["event_timestamp"].dt.date]).ngroups
    assert 20 < len(exposures) / user_days < 50


def test_ids_are_unique(exposures: pd.DataFrame, run: tuple[EventStore, Summary]) -> None:
    assert exposures["exposure_id"].is_unique
    assert len(exposures) == run[1].exposures, "every exposure has its title, user and truth"
    assert not exposures.duplicated(["request_id", "item_id"]).any()
    assert not exposures.duplicated(["request_id", "position"]).any()
    assert (exposures.groupby("request_id")["user_id"].nunique() == 1).all()
    assert (exposures.groupby("request_id")["event_timestamp"].nunique() == 1).all()


def test_nothing_is_shown_before_its_release_or_to_nobody(exposures: pd.DataFrame) -> None:
    assert (exposures["event_timestamp"] >= exposures["release_timestamp"]).all()
    assert (exposures["event_timestamp"] >= exposures["signup_timestamp"]).all()


def test_rows_are_known_before_they_are_used_and_outcomes_after_they_happen(exposures: pd.DataFrame) -> None:
    assert (exposures["created_timestamp_item"] <= exposures["event_timestamp"]).all()
    assert (exposures["created_timestamp_user"] <= exposures["event_timestamp"]).all()
    played = pd.to_timedelta(exposures["play_ms"], unit="ms")
    assert (exposures["created_timestamp"] >= exposures["event_timestamp"] + played).all()


def test_new_titles_and_users_appear_during_the_period(store: EventStore) -> None:
    for table in ("items", "users"):
        new = store.read(table).to_pandas()["created_timestamp"] > START
        assert 0.05 < new.mean() < 0.25


def test_the_period_is_kept(store: EventStore) -> None:
    first, last = store.span()
    assert (first - START).days == 0
    assert (last - START).days == DAYS - 1


def test_outcomes_agree_with_each_other(exposures: pd.DataFrame) -> None:
    assert exposures.loc[exposures["completed"], "long_view"].all()
    assert exposures.loc[exposures["long_view"] | exposures["profile_visit"], "click"].all()
    assert (exposures.loc[~exposures["click"], "play_ms"] == 0).all()
    share = exposures["play_ms"] / exposures["duration_ms"]
    assert ((share >= 0.919) == exposures["completed"]).all()


def test_outcomes_happen_as_often_as_the_truth_says(exposures: pd.DataFrame) -> None:
    tenths = pd.qcut(exposures["probability"], 10)
    groups = exposures.groupby(tenths, observed=True)
    expected, happened, count = groups["probability"].mean(), groups["completed"].mean(), groups.size()
    error = np.sqrt(expected * (1 - expected) / count)
    assert ((happened - expected).abs() < 5 * error).all()
    assert (exposures["appeal"] >= exposures["probability"]).all()
    assert np.allclose(*exposures.loc[exposures["position"] == 0, ["appeal", "probability"]].to_numpy().T)


def test_the_same_title_is_clicked_less_further_down(exposures: pd.DataFrame) -> None:
    shuffled = exposures[(exposures["variant"] == "shuffled") & (exposures["surface"] == "home")]
    top = shuffled.loc[shuffled["position"] < 5, "click"].mean()
    bottom = shuffled.loc[shuffled["position"] >= 15, "click"].mean()
    assert top > 1.5 * bottom


def test_shuffled_slates_are_shown_by_chance_alone(exposures: pd.DataFrame) -> None:
    shuffled = exposures[(exposures["variant"] == "shuffled") & (exposures["surface"] != "continue")]
    assert (exposures["propensity"].between(0, 1, inclusive="right")).all()
    assert (shuffled.groupby("request_id")["propensity"].std().dropna() < 0.02).all()
    appeal = exposures.groupby("variant")["appeal"].mean()
    assert appeal["ranked"] > appeal["shuffled"]


def test_attention_rises_after_a_release_and_decays(exposures: pd.DataFrame) -> None:
    age = (exposures["event_timestamp"] - exposures["release_timestamp"]) / pd.Timedelta(days=1)
    new = exposures[
        (exposures["release_timestamp"] > START)
        & (exposures["release_timestamp"] < START + pd.Timedelta(days=3))
    ]
    per_day = age[new.index].floordiv(1).value_counts()
    assert per_day[1] > 1.3 * per_day[6]
    first_hours = age[new.index].between(0, 0.2).sum() / 0.2
    assert first_hours < per_day[1]


def test_days_and_hours_have_a_rhythm(exposures: pd.DataFrame) -> None:
    by_day = exposures.groupby(exposures["event_timestamp"].dt.weekday).size()
    weekdays = by_day[[0, 1, 2, 3]].mean() / 2  # the ten days have two Mondays to Wednesdays
    assert by_day[[5, 6]].mean() > weekdays
    japan = exposures.loc[exposures["country"] == "JP", "event_timestamp"].dt.hour
    mexico = exposures.loc[exposures["country"] == "MX", "event_timestamp"].dt.hour
    assert japan.between(9, 15).mean() > mexico.between(9, 15).mean(), "evening in Tokyo is noon in UTC"


def test_sessions_count_what_was_shown_before(exposures: pd.DataFrame) -> None:
    ordered = exposures.sort_values(["event_timestamp", "position"])
    for _, session in list(ordered.groupby("session_id"))[:200]:
        sizes = session.groupby("event_timestamp").size()
        before = session.groupby("event_timestamp")["session_position"].first()
        assert before.tolist() == (sizes.cumsum() - sizes).tolist()


def test_the_continue_page_shows_only_titles_begun_and_not_completed(exposures: pd.DataFrame) -> None:
    on_page = exposures[exposures["surface"] == "continue"]
    assert len(on_page) > 50
    clicked = exposures[exposures["click"]].groupby(["user_id", "item_id"])["event_timestamp"].min()
    first = clicked.reindex(pd.MultiIndex.from_frame(on_page[["user_id", "item_id"]])).to_numpy()
    assert (first < on_page["event_timestamp"].to_numpy().astype(first.dtype)).all()


def test_ranking_by_the_truth_beats_popularity_and_the_shown_order(
    store: EventStore, exposures: pd.DataFrame
) -> None:
    lists, truth = store.read("exposures"), store.read("truth")
    best = best_ndcg(truth, lists, label="completed", k=10)
    without_position = best_ndcg(truth, lists, label="completed", k=10, by="appeal")
    count = exposures.groupby("item_id")["completed"].transform("mean")
    popularity, shown = (
        mean_ndcg(
            score.to_numpy(), exposures["completed"].to_numpy(), exposures["request_id"].to_numpy(), k=10
        )
        for score in (count, -exposures["position"])
    )
    assert best > without_position > popularity
    assert best > shown + 0.05
    assert best > popularity + 0.05


def test_taste_can_be_learned_from_what_everybody_sees(store: EventStore, exposures: pd.DataFrame) -> None:
    items = store.read("items").to_pandas()
    genre = items.set_index("item_id")["genres"].str[0]
    exposures = exposures.assign(genre=exposures["item_id"].map(genre))
    half = exposures["event_timestamp"] < START + pd.Timedelta(days=DAYS / 2)
    past = exposures[half].groupby(["user_id", "genre"])["click"].agg(["mean", "size"])
    past = past.loc[past["size"] >= 15, "mean"]
    later = exposures[~half].merge(past.rename("liked"), left_on=["user_id", "genre"], right_index=True)
    high, low = later[later["liked"] > 0.3], later[later["liked"] < 0.1]
    assert high["click"].mean() > 1.5 * low["click"].mean()


def test_ndcg_of_a_list_computed_by_hand() -> None:
    score, outcome = np.array([3.0, 2.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    request = np.array(["a", "a", "a", "b"])
    expected = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert mean_ndcg(score, outcome, request, k=3) == pytest.approx(expected), (
        "b has no positive and does not count"
    )
    assert mean_ndcg(score, outcome, request, k=1) == 0.0
    assert np.isnan(mean_ndcg(score, outcome * 0, request, k=3))


def test_the_truth_must_cover_the_lists_and_be_about_their_label(store: EventStore) -> None:
    lists, truth = store.read("exposures"), store.read("truth")
    with pytest.raises(EventDataError, match="lacks 5 exposures"):
        best_ndcg(truth.slice(5), lists, label="completed", k=5)
    with pytest.raises(EventDataError, match="about completed, asked for click"):
        best_ndcg(truth, lists, label="click", k=5)


def test_memory_keeps_the_latest_unfinished_titles_and_forgets_completed_ones() -> None:
    memory = Memory.empty(users=2, items=100)
    memory = memory.after(np.zeros(6, int), np.arange(6), np.zeros(6, bool))
    assert memory.unfinished.tolist() == [[5, 4, 3, 2, 1], [-1] * 5]
    memory = memory.after(np.array([0, 1]), np.array([4, 4]), np.array([True, False]))
    assert memory.unfinished.tolist() == [[5, -1, 3, 2, 1], [4, -1, -1, -1, -1]]
    assert memory.has_completed(np.array([0, 1]), np.array([4, 4])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"users": 0}, "users is 0"),
        ({"items": -1}, "items is -1"),
        ({"days": 0}, "days is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"start": datetime(2024, 1, 1, 5, tzinfo=UTC)}, "expected midnight UTC"),
        (
            {"start": datetime(2024, 1, 1)},
            "expected midnight UTC",
        ),  # a start without time zone is the case tested
    ],
)
def test_unusable_arguments_are_named(tmp_path: Path, wrong: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {"users": 5, "items": 5, "days": 1, "seed": 0, **wrong}
    with pytest.raises(SettingError, match=message):
        simulate(EventStore(tmp_path / "events"), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(("users", "items"), [(40, 1), (40, 3), (3, 500)])
def test_tiny_services_work(tmp_path: Path, users: int, items: int) -> None:
    store = EventStore(tmp_path / "events")
    summary = simulate(store, users=users, items=items, days=5, seed=3)
    assert summary.exposures == store.read("exposures").num_rows > 0


def test_progress_is_told_day_by_day(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    arguments = {"users": 30, "items": 20, "days": 3, "seed": 0}
    simulate(EventStore(tmp_path / "events"), **arguments, progress=lambda *step: told.append(step))  # type: ignore[arg-type]
    assert told == [("simulating days", day, 3) for day in (1, 2, 3)]


def test_the_description_fits_a_screen(store: EventStore) -> None:
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(render(describe(store)))
    text = console.export_text()
    assert "simulation: 2024-03-04" in text
    assert "label completed" in text
    assert len(text.splitlines()) < 45
