"""`marquee features reconcile` on a small world: exit codes, the table, the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import redis
from worlds import checkerboard

from feature_repo.workspace import HOME_VARIABLE, REDIS_VARIABLE, Workspace
from marquee.__main__ import run
from materialization.feast_store import apply_definitions, materialize, newest_snapshot
from materialization.feature_build.build import DAY, build_features

VIEW = "user_activity"


@pytest.fixture
def world(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = checkerboard(tmp_path, days=4)
    monkeypatch.setenv(HOME_VARIABLE, str(workspace.home))
    monkeypatch.setenv(REDIS_VARIABLE, redis_url)
    build_features(workspace, every=DAY)
    apply_definitions(workspace)
    materialize(workspace, end=newest_snapshot(workspace))
    return workspace


def test_lost_rows_are_found_by_a_dry_run_and_repaired_by_the_next(
    world: Workspace, redis_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["features", "reconcile"]) == 0
    assert "nothing to repair" in capsys.readouterr().out
    rows = redis.Redis.from_url(redis_url)
    lost = [name for name in rows.scan_iter(b"mq:r|*") if VIEW.encode() in name][:2]
    rows.delete(*lost)
    report = tmp_path / "report.json"
    assert run(["features", "reconcile", "--dry-run", "--json", str(report)]) == 1
    found = json.loads(report.read_text())
    assert found["settled"] is False
    assert found["views"][VIEW]["causes"]["missing"] == 2
    assert (found["views"][VIEW]["written"], found["views"][VIEW]["as_of"]) == (
        0,
        newest_snapshot(world).isoformat(),
    )
    assert rows.exists(*lost) == 0
    capsys.readouterr()
    assert run(["features", "reconcile", "--view", VIEW, "--sample", "1000"]) == 0
    assert "missing: user_id=" in capsys.readouterr().out
    assert rows.exists(*lost) == 2
    assert run(["features", "reconcile", "--dry-run"]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--full", "--sample", "5"], "--sample"),
        (["--sample", "0"], "--sample"),
        (["--view", "nope"], "nope"),
        (["--to", "yesterday"], "yesterday"),
    ],
)
def test_wrong_usage_is_named(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["features", "reconcile", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_without_a_redis_nothing_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.delenv(REDIS_VARIABLE, raising=False)
    assert run(["features", "reconcile"]) == 2
    assert REDIS_VARIABLE in capsys.readouterr().err
