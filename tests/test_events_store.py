"""The event store is replaced as a whole or not at all, and holds only what its schemas allow."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from feature_repo.errors import EventDataError, MissingInputError
from materialization.events.schemas import EXPOSURES, TABLES
from materialization.events.store import EventStore
from materialization.events.swap import replacing

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SOURCE = {"kind": "hand-made", "label": "click"}


def exposures(count: int, *, first: datetime = NOON, step: timedelta = timedelta(hours=6)) -> pa.Table:
    """`count` exposures, one every `step`; the even ones clicked."""
    times = [first + step * index for index in range(count)]
    flags = [field.name for field in EXPOSURES if pa.types.is_boolean(field.type)]
    return pa.table(
        {
            "exposure_id": [f"e{index}" for index in range(count)],
            "request_id": [f"r{index}" for index in range(count)],
            "user_id": ["u1"] * count,
            "item_id": ["t1"] * count,
            "event_timestamp": times,
            "created_timestamp": times,
            "surface": ["home"] * count,
            **{name: [name == "click" and index % 2 == 0 for index in range(count)] for name in flags},
        }
    )


def contents(root: Path) -> dict[str, str]:
    """sha256 of every file below `root`."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return {str(file.relative_to(root)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture
def store(tmp_path: Path) -> EventStore:
    """A store with 10 exposures on 3 days."""
    made = EventStore(tmp_path / "events")
    with made.rewrite(SOURCE) as writer:
        writer.write("exposures", exposures(10))
    return made


def test_rows_lie_in_the_folder_of_their_utc_day(store: EventStore) -> None:
    days = {folder.name for folder in (store.root / "exposures").iterdir()}
    assert days == {"date=2024-05-01", "date=2024-05-02", "date=2024-05-03"}
    rows = duckdb.sql(
        f"select date, count(*) from '{store.glob('exposures')}' group by 1 order by 1"
    ).fetchall()
    assert rows == [(date(2024, 5, 1), 2), (date(2024, 5, 2), 4), (date(2024, 5, 3), 4)]


def test_every_table_is_readable_even_without_rows(store: EventStore) -> None:
    for table in TABLES:
        assert duckdb.sql(f"select count(*) from '{store.glob(table)}'").fetchall()[0][0] >= 0
        assert store.read(table).schema.equals(TABLES[table])


def test_the_source_counts_rows_and_names_the_first_and_last_event(store: EventStore) -> None:
    source = store.source()
    assert source["rows"] == {"exposures": 10, "items": 0, "users": 0, "histories": 0, "truth": 0}
    assert source["label"] == "click"
    assert source["history"] is None
    assert store.span() == (NOON, NOON + timedelta(hours=54))


def test_an_empty_store_names_the_verb_that_fills_it(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="marquee events simulate"):
        EventStore(tmp_path / "events").glob("exposures")


def test_writing_the_same_rows_twice_gives_the_same_bytes(store: EventStore) -> None:
    before = contents(store.root)
    with store.rewrite(SOURCE) as writer:
        writer.write("exposures", exposures(10))
    assert contents(store.root) == before


@pytest.mark.parametrize("problem", [ValueError("x"), KeyboardInterrupt(), EventDataError("x")])
def test_a_failed_rewrite_changes_nothing_and_leaves_nothing(
    store: EventStore, problem: BaseException
) -> None:
    before = contents(store.root)
    with pytest.raises(type(problem)):
        _fail_after_three_rows(store, problem)
    assert contents(store.root) == before
    assert {path.name for path in store.root.parent.iterdir()} == {"events", ".events.lock"}


def test_a_rewrite_without_exposures_is_refused(store: EventStore) -> None:
    before = contents(store.root)
    with pytest.raises(EventDataError, match="no usable exposure"), store.rewrite(SOURCE):
        pass
    assert contents(store.root) == before


def test_rows_of_the_old_content_do_not_survive_a_rewrite(store: EventStore) -> None:
    with store.rewrite(SOURCE) as writer:
        writer.write("exposures", exposures(1, first=NOON + timedelta(days=30)))
    assert [folder.name for folder in (store.root / "exposures").iterdir()] == ["date=2024-05-31"]


def test_a_crash_between_the_two_renames_is_repaired_at_the_next_reading(store: EventStore) -> None:
    before = contents(store.root)
    store.root.rename(store.root.parent / ".events.old")
    (store.root.parent / ".events.new").mkdir()
    assert store.source()["kind"] == "hand-made"
    assert contents(store.root) == before


def test_a_killed_writer_harms_nothing(store: EventStore) -> None:
    before = contents(store.root)
    killed = (
        "import os, pathlib, sys; from materialization.events.store import EventStore\n"
        "with EventStore(pathlib.Path(sys.argv[1])).rewrite({'kind': 'x', 'label': 'click'}): os._exit(9)"
    )
    repository = Path(__file__).resolve().parents[1]
    ended = subprocess.run([sys.executable, "-c", killed, str(store.root)], cwd=repository, check=False)
    assert ended.returncode == 9
    assert (store.root.parent / ".events.new").exists()
    assert contents(store.root) == before
    with store.rewrite(SOURCE) as writer:
        writer.write("exposures", exposures(10))
    assert contents(store.root) == before
    assert not (store.root.parent / ".events.new").exists()


def test_a_damaged_source_file_is_named(store: EventStore) -> None:
    (store.root / "source.json").write_text('{"kind": ')
    with pytest.raises(EventDataError, match=r"source.json is damaged"):
        store.tables()


def test_a_crash_after_the_renames_leaves_the_new_content(store: EventStore) -> None:
    (store.root.parent / ".events.old").mkdir()
    with store.rewrite(SOURCE) as writer:
        writer.write("exposures", exposures(2))
    assert store.source()["rows"]["exposures"] == 2
    assert {path.name for path in store.root.parent.iterdir()} == {"events", ".events.lock"}


def test_two_writers_cannot_meet(store: EventStore) -> None:
    with replacing(store.root) as folder:
        (folder / "anything").touch()
        with pytest.raises(EventDataError, match="being written by another process"), store.rewrite(SOURCE):
            pytest.fail("the second writer came in")
        (folder / "source.json").touch()


def test_a_folder_that_is_no_event_store_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(EventDataError, match="is not an event store"), EventStore(tmp_path).rewrite(SOURCE):
        pytest.fail("the folder was taken")
    assert (tmp_path / "holiday.jpg").exists()


def test_an_unknown_table_is_refused_by_name(store: EventStore) -> None:
    with pytest.raises(EventDataError, match="no event table clicks"):
        store.glob("clicks")


def test_a_table_without_a_day_column_needs_the_day(store: EventStore) -> None:
    with pytest.raises(EventDataError, match="histories has no day column"), store.rewrite(SOURCE) as writer:
        writer.write("histories", TABLES["histories"].empty_table())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(["user_id"]), "column user_id is missing"),
        (lambda rows: rows.append_column("mood", pa.array([None] * 10)), "column mood is not in the schema"),
        (lambda rows: _with(rows, "user_id", [None, *["u"] * 9]), "column user_id is null in 1 rows"),
        (lambda rows: _with(rows, "event_timestamp", ["noon"] * 10), "column event_timestamp is string"),
        (lambda rows: _with(rows, "click", [[True]] * 10), "column click is list"),
    ],
)
def test_rows_that_break_the_schema_are_refused_by_column(
    store: EventStore, change: object, message: str
) -> None:
    before = contents(store.root)
    with pytest.raises(EventDataError, match=message), store.rewrite(SOURCE) as writer:
        writer.write("exposures", change(exposures(10)))  # type: ignore[operator]
    assert contents(store.root) == before


def test_all_problems_of_a_table_are_named_at_once(store: EventStore) -> None:
    broken = exposures(10).drop(["user_id", "item_id"])
    with (
        pytest.raises(EventDataError, match=r"user_id is missing; column item_id"),
        store.rewrite(SOURCE) as writer,
    ):
        writer.write("exposures", broken)


def test_quarantined_rows_keep_their_values_and_are_counted(store: EventStore) -> None:
    with store.rewrite(SOURCE) as writer:
        writer.write("exposures", exposures(1))
        writer.quarantine("exposures", pa.table({"time": [1, 2], "user": ["a", "b"]}), "too old")
        writer.quarantine("exposures", pa.table({"time": ["noon"], "tab": [3]}), "not a time")
    assert store.source()["quarantined"] == {"exposures": {"too old": 2, "not a time": 1}}
    rows = store.quarantined("exposures")
    assert rows is not None
    assert rows["reason"].to_pylist() == ["too old", "too old", "not a time"]
    assert rows["time"].to_pylist() == ["1", "2", "noon"]
    assert rows["user"].to_pylist() == ["a", "b", None]
    assert store.quarantined("users") is None


def _fail_after_three_rows(store: EventStore, problem: BaseException) -> None:
    with store.rewrite(SOURCE) as writer:
        writer.write("exposures", exposures(3))
        raise problem


def _with(rows: pa.Table, column: str, values: list[object]) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index(column), column, pa.array(values))
