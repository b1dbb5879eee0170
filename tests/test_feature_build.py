"""The build itself: repeatable to the byte, incremental to the snapshot, safe to kill, never mixing two logs."""

from __future__ import annotations

import multiprocessing
import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from worlds import (
    DAY,
    HOUR,
    MONDAY,
    VIEWS,
    checkerboard,
    content,
    exposure,
    item,
    snapshots,
    watched,
    write_world,
)

from feature_repo.errors import FeatureError, MissingInputError, SettingError
from feature_repo.workspace import Workspace
from materialization.declared import SQL
from materialization.feature_build.build import BuildSummary, build_features
from materialization.feature_build.inputs import event_files, inputs_fingerprint
from materialization.feature_build.snapshot import Limits, connect, open_knowledge, partitions, write_snapshot

DAYS = 4
FREQUENT = sum(view.cadence == timedelta(hours=6) for view in VIEWS.values())
DAILY = len(VIEWS) - FREQUENT
INSTANTS = {view.name: 1 + 24 // (view.cadence // HOUR) * (DAYS - 1) for view in VIEWS.values()}
"""From the first midnight after the first event to the first after the last."""
SCRIPT = """
import sys
from pathlib import Path
from feature_repo.workspace import Workspace
from materialization.feature_build.build import build_features
build_features(Workspace(Path(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, BuildSummary]:
    """A built world; leave it as it is."""
    workspace = checkerboard(tmp_path_factory.mktemp("built"), days=DAYS, users=4, items=4)
    return workspace, build_features(workspace)


@pytest.fixture
def world(tmp_path: Path) -> Workspace:
    """The same world, not built."""
    return checkerboard(tmp_path / "home", days=DAYS, users=4, items=4)


def written(summary: BuildSummary) -> dict[str, int]:
    return {name: view.written for name, view in summary.views.items() if view.written}


def test_every_view_gets_a_snapshot_at_its_cadence(built: tuple[Workspace, BuildSummary]) -> None:
    workspace, summary = built
    assert written(summary) == INSTANTS
    assert sorted(partitions(workspace.feature_path("user_totals"))) == [
        MONDAY + day * DAY for day in (1, 2, 3, 4)
    ]
    assert len(partitions(workspace.feature_path("item_totals"))) == 13


def test_partitions_have_the_views_schema_and_their_instant(built: tuple[Workspace, BuildSummary]) -> None:
    workspace, _ = built
    for name, view in VIEWS.items():
        for as_of, path in partitions(workspace.feature_path(name)).items():
            table = pq.read_table(path)
            assert table.schema.remove_metadata() == view.schema
            stamps = {*table["event_timestamp"].to_pylist(), *table["created_timestamp"].to_pylist()}
            assert stamps <= {as_of}


def test_the_same_events_give_the_same_bytes(built: tuple[Workspace, BuildSummary], world: Workspace) -> None:
    build_features(world, workers=1, memory_limit="500MB")
    assert content(world.features) == content(built[0].features)


def test_another_time_zone_gives_the_same_bytes(
    built: tuple[Workspace, BuildSummary], world: Workspace
) -> None:
    environment = {**os.environ, "TZ": "Asia/Shanghai", "LC_ALL": "C"}
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(world.home)], env=environment, check=True, capture_output=True
    )
    assert content(world.features) == content(built[0].features)


def test_a_second_run_writes_nothing(world: Workspace) -> None:
    build_features(world)
    before = {path: path.stat().st_mtime_ns for path in world.features.rglob("*.parquet")}
    summary = build_features(world)
    assert written(summary) == {}
    assert sum(view.kept for view in summary.views.values()) == sum(INSTANTS.values())
    assert {path: path.stat().st_mtime_ns for path in world.features.rglob("*.parquet")} == before


def test_one_days_change_rebuilds_exactly_the_snapshots_that_can_see_it(tmp_path: Path) -> None:
    days = [watched("u", "i", MONDAY + day * DAY + 12 * HOUR) for day in range(4)]
    workspace = write_world(tmp_path / "home", days)
    build_features(workspace)
    before = content(workspace.features)
    changed = [*days, exposure("v", "j", MONDAY + 2 * DAY + 13 * HOUR)]
    write_world(tmp_path / "home", changed)
    summary = build_features(workspace)
    after = content(workspace.features)
    last_kept = f"date={MONDAY + 2 * DAY:%Y-%m-%d}/0000"
    for path in before:
        if path.endswith(".parquet"):
            old = path.split("/", 1)[1] <= f"{last_kept}.parquet"
            assert (before[path] == after[path]) == old, path
    assert written(summary) == {
        name: 2 if view.cadence == DAY else 8 for name, view in VIEWS.items()
    }  # of Tuesday to Friday midnight, those after Wednesday midnight


def test_one_changed_query_rebuilds_exactly_its_view(tmp_path: Path, world: Workspace) -> None:
    """By fingerprint: the query of one view, without touching the repository's own."""
    text = tmp_path / "user_totals.sql"
    text.write_text((SQL / "user_totals.sql").read_text())
    view = replace(VIEWS["user_totals"], sql_path=text)
    files = event_files(world.events)
    before = inputs_fingerprint(view, files, MONDAY + DAY)
    assert before == inputs_fingerprint(VIEWS["user_totals"], files, MONDAY + DAY)
    text.write_text("-- a word more\n" + text.read_text())
    assert inputs_fingerprint(view, files, MONDAY + DAY) == before
    text.write_text(
        text.read_text().replace("overall.like_rate,\n        20", "overall.like_rate,\n        21")
    )
    assert inputs_fingerprint(view, files, MONDAY + DAY) != before


def test_a_snapshot_whose_inputs_changed_is_rewritten_or_removed(world: Workspace) -> None:
    """A stale snapshot between the instants asked for would join as if it were true."""
    build_features(world, views=["item_totals", "user_totals"])
    whole = content(world.features)
    for path in world.features.rglob("item_totals/*/*.parquet"):
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({"marquee.inputs": "another query"}), path)
    summary = build_features(world, views=["item_totals", "user_totals"], every=timedelta(days=1))
    assert (summary.views["item_totals"].written, summary.views["item_totals"].removed) == (4, 9)
    assert (summary.views["user_totals"].kept, summary.views["user_totals"].removed) == (4, 0)
    build_features(world, views=["item_totals", "user_totals"])
    assert content(world.features) == whole


def test_a_damaged_partition_is_written_anew(world: Workspace) -> None:
    build_features(world, views=["user_totals"])
    whole = content(world.features)
    path = next(world.features.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:-9])
    assert written(build_features(world, views=["user_totals"])) == {"user_totals": 1}
    assert content(world.features) == whole


def test_a_killed_build_leaves_no_half_partition_and_a_rerun_converges(
    built: tuple[Workspace, BuildSummary], world: Workspace
) -> None:
    chance = random.Random(7)
    expected = content(built[0].features)
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["materialization.feature_build.build"])
    for _ in range(8):
        process = processes.Process(target=build_features, args=(world,))
        process.start()
        time.sleep(chance.uniform(0.0, 0.6))
        process.kill()
        process.join()
        left = content(world.features) if world.features.exists() else {}
        assert all(data == expected[path] for path, data in left.items() if path.endswith(".parquet"))
    build_features(world)
    assert content(world.features) == expected


def test_two_builds_at_once_are_refused(world: Workspace) -> None:
    def again(*_arguments: Any) -> None:
        build_features(world, views=["user_profile"])

    with pytest.raises(FeatureError, match="being built by another process; wait"):
        build_features(world, views=["user_totals"], report=again)


def test_leftovers_of_a_killed_build_go_away(world: Workspace) -> None:
    folder = world.feature_path("user_totals") / "date=2026-03-03"
    folder.mkdir(parents=True)
    (folder / "0000.parquet.99.partial").write_text("half")
    (world.home / "spill").mkdir()
    (world.home / "spill" / "duckdb_temp_storage-0.tmp").write_text("half")
    build_features(world, views=["user_totals"])
    assert not list(world.home.rglob("*.partial"))
    assert not list(world.home.rglob("*.tmp"))


def test_features_of_two_event_logs_never_mix(world: Workspace) -> None:
    build_features(world, views=["user_totals"])
    write_world(world.home, [watched("u", "i", MONDAY)], name="another")
    with pytest.raises(FeatureError, match=r"built from other events.*--fresh"):
        build_features(world)
    with pytest.raises(FeatureError, match="built from other events"):
        build_features(world, views=["item_totals"], fresh=True)  # the other views would stay as they were
    assert written(build_features(world, fresh=True))["user_totals"] == 1
    assert list(partitions(world.feature_path("user_totals"))) == [MONDAY]


def test_fresh_removes_nothing_before_the_request_makes_sense(world: Workspace) -> None:
    build_features(world, views=["user_totals"])
    before = content(world.features)
    with pytest.raises(FeatureError, match="no view named user_total;"):
        build_features(world, views=["user_total"], fresh=True)
    with pytest.raises(SettingError, match="lies before"):
        build_features(world, start=MONDAY + DAY, end=MONDAY, fresh=True)
    assert content(world.features) == before


@pytest.mark.parametrize("limit", ["plenty", "", "0", "1GB'; SELECT 1; --"])
def test_a_memory_limit_that_is_no_size_is_named(world: Workspace, limit: str) -> None:
    with pytest.raises(SettingError, match=r"--memory-limit .* is not a size such as 2GB"):
        build_features(world, memory_limit=limit)


def test_too_small_a_memory_limit_says_what_to_do(world: Workspace) -> None:
    with pytest.raises(FeatureError, match="raise --memory-limit"):
        build_features(world, memory_limit="1KB")
    assert not list(world.features.rglob("*.partial"))


def test_a_build_beyond_its_memory_spills_and_gives_the_same_rows(tmp_path: Path) -> None:
    many = [item(f"i{n}", author_id=f"author number {n}", genres=[f"genre number {n}"]) for n in range(3000)]
    seen = [
        watched(f"user number {n % 50}", f"i{n % 3000}", MONDAY + n * timedelta(seconds=1))
        for n in range(20_000)
    ]
    workspace = write_world(tmp_path, seen, items=many)
    roomy = snapshots(workspace, MONDAY + DAY, ["user_tastes", "user_item"])
    tight = snapshots(
        workspace, MONDAY + DAY, ["user_tastes", "user_item"], limits=Limits("24MB", tmp_path / "spill")
    )
    assert roomy == tight


def test_without_events_the_message_names_the_verb(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="marquee events"):
        build_features(Workspace(tmp_path))


def test_a_range_without_an_instant_is_named(world: Workspace) -> None:
    with pytest.raises(MissingInputError, match="no snapshot instant"):
        build_features(world, start=MONDAY + HOUR, end=MONDAY + 2 * HOUR)


def test_a_query_that_fails_is_named_with_its_instant(tmp_path: Path, world: Workspace) -> None:
    path = tmp_path / "user_totals.sql"
    path.write_text("SELECT nonsense FROM exposures")
    view, as_of, target = replace(VIEWS["user_totals"], sql_path=path), MONDAY + DAY, tmp_path / "x.parquet"
    with connect(Limits()) as connection:
        open_knowledge(connection, event_files(world.events), as_of)
        with pytest.raises(FeatureError, match=r"user_totals\.sql fails as of 2026-03-03"):
            write_snapshot(connection, view, as_of=as_of, path=target, fingerprint="")
    assert not target.exists()


def test_no_query_can_see_what_only_the_simulator_knows(world: Workspace) -> None:
    with connect(Limits()) as connection:
        open_knowledge(connection, event_files(world.events), MONDAY + DAY)
        with pytest.raises(duckdb.CatalogException, match="truth"):
            connection.sql("SELECT * FROM truth")


def test_a_step_that_would_starve_a_view_is_refused(built: tuple[Workspace, BuildSummary]) -> None:
    world, _ = built
    with pytest.raises(SettingError, match=r"user_activity wants a snapshot every 1 day"):
        build_features(world, every=timedelta(hours=5))
    with pytest.raises(SettingError, match=r"item_popularity's rows live for 1 day"):
        build_features(world, every=timedelta(days=2))


def test_a_fresh_build_of_one_view_leaves_the_others(tmp_path: Path) -> None:
    world = checkerboard(tmp_path, days=2, users=2, items=2)
    build_features(world, every=DAY)
    before = {path for path in world.features.glob("*/*/*.parquet") if "user_activity" not in path.parts}
    summary = build_features(world, every=DAY, views=["user_activity"], fresh=True)
    assert summary.views["user_activity"].written > 0
    assert before <= set(world.features.glob("*/*/*.parquet"))
