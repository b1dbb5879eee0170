"""`marquee model list` and `promote`, by the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from online_world import CONTRACT, make_booster

from feature_repo.workspace import HOME_VARIABLE
from marquee.__main__ import run
from ranking_service import bundle
from ranking_service.contract import Contract
from ranking_service.models.registry import Registry

MANIFEST = {
    "label": "long_view",
    "split": {"validate_from": "2026-03-01T00:00:00+00:00"},
    "validation": {"auc": 0.7512},
}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bundles, the newer one trained with another code of its transform."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    (plan,) = CONTRACT.transforms
    publish(tmp_path / "models", "v1", CONTRACT)
    other = replace(CONTRACT, transforms=(replace(plan, fingerprint="of other code"),))
    publish(tmp_path / "models", "v2", other)
    return tmp_path / "models"


def publish(models: Path, version: str, contract: Contract) -> None:
    bundle.publish(models, version=version, booster=make_booster(), contract=contract, manifest=MANIFEST)


def shown(capsys: pytest.CaptureFixture[str], version: str) -> str:
    """The table's line of one version."""
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == [version])
    return line


def test_the_list_tells_what_is_served_and_on_what_it_was_trained(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "promote", "v1"]) == 0
    assert "promoted v1" in capsys.readouterr().out
    assert run(["model", "list"]) == 0
    line = shown(capsys, "v1")
    for told in (
        "promoted",
        "long_view",
        "2026-03-01",
        str(len(CONTRACT.features)),
        "auc 0.7512",
    ):
        assert told in line
    assert Registry.open(models).served() == "v1"


@pytest.mark.usefixtures("models")
def test_without_a_promotion_the_newest_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["model", "list"]) == 1, "the newest cannot be served"
    assert "newest" in shown(capsys, "v2")


def test_a_bundle_of_other_code_is_told_and_not_promoted(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "promote", "v1"]) == 0
    assert run(["model", "promote", "v2"]) == 1
    assert "other code of the transforms request_context" in capsys.readouterr().err
    assert Registry.open(models).served() == "v1"
    assert run(["model", "list"]) == 0
    assert "bundle v2 was trained with other code" in capsys.readouterr().err


def test_a_damaged_or_unknown_bundle_is_not_promoted(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (models / "v1" / "model.ubj").write_bytes(b"")
    assert run(["model", "promote", "v1"]) == 1
    assert "damaged" in capsys.readouterr().err
    assert run(["model", "promote", "v9"]) == 1
    assert "no version v9; there are v1, v2" in capsys.readouterr().err
    assert Registry.open(models).promotions() == []
    assert run(["model", "list"]) == 1
    captured = capsys.readouterr()
    assert "v1" in captured.out
    assert "model.ubj is damaged" in captured.err


def test_a_promotion_that_points_nowhere_does_not_hide_the_list(
    models: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["model", "promote", "v1"]) == 0
    (models / "v1").rename(models / "v0")
    assert run(["model", "list"]) == 1
    captured = capsys.readouterr()
    assert "v2" in captured.out
    assert "version v1 was promoted, but is not there; promote another" in captured.err


def test_without_bundles_the_list_names_the_verb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    assert run(["model", "list"]) == 1
    assert "marquee model train" in capsys.readouterr().err
