"""A changed feature beside what was served: what it would have been, and nothing in the workspace is touched."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.errors import MissingInputError
from feature_repo.workspace import HOME_VARIABLE, Workspace
from marquee.__main__ import run
from materialization import declared
from skew_checks.against_log import check_against_log
from skew_checks.bench.night import night
from skew_checks.bench.world import Size, made_world
from skew_checks.result.parts import Outcome, Window

TINY = Size(users=120, items=80, days=6, served_day=5, dense_days=2, has_weekend=False, rounds=5)
REQUESTS = 40
CHANGED = (
    "coalesce(logged.exposures, 0) AS user_exposures",
    "coalesce(logged.exposures, 0) + 100 AS user_exposures",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("against-log")
    with made_world(folder / "world", TINY) as world:
        with night(world, folder / "night", requests=world.requests[:REQUESTS]) as made:
            assert made.serve() == REQUESTS
        yield made.workspace


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def plant(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another query of one feature."""
    shutil.copytree(declared.SQL, folder / "sql")
    query = folder / "sql" / "user_totals.sql"
    text = query.read_text()
    assert CHANGED[0] in text
    query.write_text(text.replace(*CHANGED))
    monkeypatch.setattr(declared, "SQL", folder / "sql")


def test_features_as_they_are_built_are_what_was_served(served: Workspace) -> None:
    before = contents(served.home)
    found = check_against_log(served, Window())
    assert found.rebuilt == {}
    assert found.report.volume.requests == REQUESTS
    assert found.report.defects == ()
    assert contents(served.home) == before


def test_a_changed_query_is_built_aside_and_its_features_are_named(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(served.home)
    plant(tmp_path, monkeypatch)
    found = check_against_log(served, Window())
    assert set(found.rebuilt) == {"user_totals"}
    assert {defect.view for defect in found.report.defects} == {"user_totals"}
    assert {name for defect in found.report.defects for name in defect.features} == {"user_exposures"}
    assert found.report.outcome is Outcome.FAIL
    assert contents(served.home) == before


def test_without_a_log_there_is_nothing_to_check_against(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="marquee serve"):
        check_against_log(Workspace(tmp_path), Window())


def test_the_command_ends_with_the_skew_checks_exit_code(
    served: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(served.home))
    assert run(["features", "check", "--against-log", "--sample", "20"]) in (0, 1)
    printed = capsys.readouterr().out
    assert "nothing was to be built anew" in printed
    assert "20 requests" in printed


def test_a_change_that_breaks_the_served_bundle_is_told_and_still_replayed(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(served.home))
    plant(tmp_path, monkeypatch)
    assert run(["features", "check", "--against-log"]) == 2
    printed = capsys.readouterr().out
    assert "its query changed" in " ".join(printed.split())
    assert "user_exposures" in printed
