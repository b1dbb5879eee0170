"""MovieTweetings as it is: `::` fields, ids with leading zeros, titles that end in a year."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from feature_repo.errors import EventDataError
from materialization.events.movietweetings import import_movietweetings
from materialization.events.store import EventStore

DATA = Path(
    os.environ.get("MARQUEE_TEST_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data")
)
RATINGS = ["1::0000012::7::1365029107", "1::0000013::6::1365029107", "2::0000012::10::1365115507"]
MOVIES = [
    "0000012::L'année::II (1913)::Drama",
    "0000013::The Bank (1915)::Comedy|Short",
    "0000014::1984 (1984)::",
]


def write(folder: Path, *, ratings: list[str] = RATINGS, movies: list[str] = MOVIES) -> Path:
    """A data set of these lines."""
    folder.mkdir(exist_ok=True)
    for name, lines in (("ratings", ratings), ("movies", movies)):
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{name}.dat.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    return folder


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    return EventStore(tmp_path / "home" / "events")


def test_ratings_become_exposures_that_are_liked_from_seven(store: EventStore, tmp_path: Path) -> None:
    source = import_movietweetings(store, write(tmp_path / "data"))
    rows = store.read("exposures").to_pylist()
    assert [(row["item_id"], row["rating"], row["like"]) for row in rows] == [
        ("0000012", 7.0, True),
        ("0000013", 6.0, False),
        ("0000012", 10.0, True),
    ]
    assert all(row["click"] and row["completed"] and row["surface"] == "twitter" for row in rows)
    assert (
        rows[0]["event_timestamp"] == rows[0]["created_timestamp"] == datetime.fromtimestamp(1365029107, UTC)
    )
    assert source["label"] == "like"


def test_titles_years_and_genres_are_taken_apart(store: EventStore, tmp_path: Path) -> None:
    source = import_movietweetings(store, write(tmp_path / "data"))
    bank, future = store.read("items").to_pylist()
    assert (bank["item_id"], bank["title"], bank["genres"]) == ("0000013", "The Bank", ["Comedy", "Short"])
    assert bank["release_timestamp"] == datetime(1915, 1, 1, tzinfo=UTC)
    assert (future["title"], future["genres"]) == ("1984", [])
    assert bank["created_timestamp"] == datetime(2013, 4, 3, tzinfo=UTC), (
        "known from the day of the first rating"
    )
    assert source["quarantined"] == {"items": {"wrong number of fields": 1}}


def test_users_become_known_with_their_first_rating(store: EventStore, tmp_path: Path) -> None:
    import_movietweetings(store, write(tmp_path / "data"))
    users = {row["user_id"]: row["created_timestamp"] for row in store.read("users").to_pylist()}
    assert users == {
        "1": datetime.fromtimestamp(1365029107, UTC),
        "2": datetime.fromtimestamp(1365115507, UTC),
    }


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("3::0000012::7", "wrong number of fields"),
        ("3::0000012::good::1365029107", "rating is not a number"),
        ("3::0000012::11::1365029107", "rating is not 0..10"),
        ("3::0000012::7::12", "rating_timestamp is not a time between 2000 and 2100"),
        ("x::0000012::7::1365029107", "user_id is not a number"),
        (RATINGS[0], "exact duplicate of another row"),
    ],
)
def test_a_bad_line_is_put_aside_with_its_reason(
    store: EventStore, tmp_path: Path, line: str, reason: str
) -> None:
    source = import_movietweetings(
        store, write(tmp_path / "data", ratings=[*RATINGS, line], movies=MOVIES[1:])
    )
    assert source["quarantined"] == {"exposures": {reason: 1}}
    assert source["rows"]["exposures"] == 3


def test_files_mixed_up_are_an_error(store: EventStore, tmp_path: Path) -> None:
    with pytest.raises(
        EventDataError, match=r"ratings.dat.gz is not what it should be: no line has 4 fields"
    ):
        import_movietweetings(store, write(tmp_path / "data", ratings=MOVIES[1:]))


def test_text_that_is_not_utf8_names_its_line(store: EventStore, tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    (folder / "movies.dat.gz").write_bytes(
        gzip.compress("1::A (1990)::\n2::Fantômas (1913)::\n".encode("latin-1"))
    )
    with pytest.raises(EventDataError, match=r"movies.dat.gz, line 2: not UTF-8"):
        import_movietweetings(store, folder)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(["ratings.dat.gz", "movies.dat.gz"]), share=st.floats(0.0, 0.999))
def test_a_file_cut_anywhere_never_harms_the_store(
    store: EventStore, tmp_path: Path, name: str, share: float
) -> None:
    folder = write(tmp_path / "data")
    before = import_movietweetings(store, folder)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(EventDataError, match=name):
        import_movietweetings(store, folder)
    assert store.source() == before
    assert store.read("exposures").num_rows == 3


@pytest.mark.real_data
def test_the_real_rows_add_up(store: EventStore) -> None:
    folder = DATA / "movietweetings-100k"
    if not folder.is_dir():
        pytest.skip(f"no MovieTweetings in {DATA}; name the folder of the data sets in MARQUEE_TEST_DATA")
    source = import_movietweetings(store, folder)
    assert source["rows"] == {
        "exposures": 100_000,
        "items": 10_506,
        "users": 16_554,
        "histories": 0,
        "truth": 0,
    }
    assert source["quarantined"] == {}
    assert source["first_event"].startswith("2013-02-28T14:38:27")
    assert source["last_event"].startswith("2013-09-01T20:27:45")
    exposures, items = store.read("exposures"), store.read("items")
    assert round(pc.mean(exposures["rating"]).as_py(), 2) == 7.32
    assert round(pc.mean(exposures["like"]).as_py(), 3) == 0.728
    assert items["release_timestamp"].null_count == 0
    assert pc.sum(pc.equal(pc.list_value_length(items["genres"]), 0)).as_py() == 66
