"""What a promotion can require: a clean skew report of all that the bundle reads, and no loss of NDCG."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xgboost
from models_world import log, served
from online_world import AT, CONTRACT, MODEL, NOW, OnlineWorld
from worlds import exposure, write_world

from feature_repo.errors import BundleError, MissingInputError
from feature_repo.workspace import HOME_VARIABLE, Workspace
from marquee.__main__ import run
from marquee.model_gates import LEAST_LISTS, Drop, check_ndcg, check_skew_clean, ndcg_drop
from ranking_service import bundle
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract, Field
from ranking_service.models.registry import Registry
from ranking_service.online.request import RankRequest
from skew_checks.formats import report_files
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Outcome, Rate, Status, Unit, Volume, Window
from skew_checks.result.report import Defect, SkewReport


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    add(tmp_path / "models", "v1")
    return Workspace(tmp_path)


def add(models: Path, version: str, contract: Contract = CONTRACT, sign: float = 1.0) -> Bundle:
    """Likes popular items for `sign` 1, unpopular ones for -1."""
    rows = np.random.default_rng(0).normal(size=(400, len(MODEL))).astype(np.float32)
    data = xgboost.DMatrix(rows, label=sign * rows[:, 2] > 0, feature_names=list(MODEL))
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 4}, data, 15)
    manifest = {"label": "click"}
    return bundle.load(
        bundle.publish(models, version=version, booster=booster, contract=contract, manifest=manifest)
    )


def report(*defects: Defect, **changes: object) -> SkewReport:
    clean = SkewReport(
        window=Window(),
        checked_at=NOW,
        outcome=Outcome.FAIL if defects else Outcome.OK,
        sentence="",
        volume=Volume(requests=20, rows=400, values=9_000, features=9),
        bundles=("v1",),
        defects=defects,
    )
    return replace(clean, **changes)


def defect(*features: str, view: str = "item_stats", **changes: object) -> Defect:
    lags = Defect(
        status=Status.FAIL,
        cause=Cause.MATERIALIZATION_GAP,
        headline="lags",
        view=view,
        features=features,
        bundle="v1",
        unit=Unit.ITEM_ROWS,
        rate=Rate(3, 10, 0.02, 0.8, 0.001),
        causes=(),
        since=None,
        last=None,
        command="marquee skew check --request r",
    )
    return replace(lags, **changes)


def write(workspace: Workspace, found: SkewReport, day: int = 1) -> None:
    at = datetime(2026, 3, day, tzinfo=UTC)
    report_files.write(replace(found, checked_at=at, window=Window(end=at)), workspace.reports)


def refusal(workspace: Workspace, version: str = "v1") -> str:
    registry = Registry.open(workspace.models)
    with pytest.raises((BundleError, MissingInputError)) as caught:
        check_skew_clean(workspace, registry, bundle.load(registry.folder(version)))
    return str(caught.value)


def test_a_clean_report_of_what_the_bundle_reads_lets_it_pass(workspace: Workspace) -> None:
    write(workspace, report())
    assert run(["model", "promote", "v1", "--require-skew-clean"]) == 0
    assert Registry.open(workspace.models).served() == "v1"


def test_without_a_report_the_verb_that_makes_one_is_named(workspace: Workspace) -> None:
    assert "marquee skew check" in refusal(workspace)
    workspace.reports.mkdir()
    (workspace.reports / "skew-2026-03-01.json").write_text("{}")
    assert "is no skew report" in refusal(workspace)


def test_a_difference_in_what_it_reads_refuses_it_and_others_do_not(workspace: Workspace) -> None:
    write(workspace, report(defect("item_popularity"), defect("something_else")))
    assert "served and offline values differ of item_popularity (materialization-gap)" in refusal(workspace)
    assert "something_else" not in refusal(workspace)
    write(workspace, report(defect("something_else")), day=2)
    registry = Registry.open(workspace.models)
    told = check_skew_clean(workspace, registry, bundle.load(registry.folder("v1")))
    assert told.startswith("skew: clean on 2026-03-02"), "the last report counts"


def test_a_difference_within_its_budget_is_told_and_passes(workspace: Workspace) -> None:
    write(workspace, report(defect("item_popularity", status=Status.WARN), outcome=Outcome.WARN))
    registry = Registry.open(workspace.models)
    told = check_skew_clean(workspace, registry, bundle.load(registry.folder("v1")))
    assert told.endswith("within their budgets differ item_popularity")


def test_changed_code_and_too_little_data_refuse_it(workspace: Workspace) -> None:
    changed = defect("context_hour", view="request_context", cause=Cause.TRANSFORM_CODE)
    write(workspace, report(changed))
    assert "other code of the transforms request_context was served" in refusal(workspace)
    write(workspace, report(outcome=Outcome.NOT_ENOUGH), day=2)
    assert "too little data to judge" in refusal(workspace)
    write(workspace, report(outcome=Outcome.INTERNAL), day=3)
    assert "failed itself" in refusal(workspace)


def test_what_no_checked_bundle_read_is_not_cleared(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    user, *others = CONTRACT.views
    wider = replace(user, fields=(*user.fields, Field("user_mood", "FLOAT", 0.0)))
    add(workspace.models, "v2", replace(CONTRACT, views=(wider, *others)))
    newer = replace(user, fingerprint="newer")
    add(workspace.models, "v3", replace(CONTRACT, views=(newer, *others)))
    write(workspace, report())
    assert "it compared nothing of user_mood of user_stats, which" in refusal(workspace, "v2")
    assert "nothing of user_activity of user_stats, user_country of user_stats" in refusal(workspace, "v3")
    assert run(["model", "promote", "v2", "--require-skew-clean"]) == 1
    assert "v2 is not promoted" in capsys.readouterr().err
    assert Registry.open(workspace.models).promotions() == []


# --- NDCG -----------------------------------------------------------------------------------------------------


def test_a_drop_up_to_the_limit_passes_and_a_larger_one_does_not(workspace: Workspace) -> None:
    registry = Registry.open(workspace.models)
    first = bundle.load(registry.folder("v1"))
    second = add(workspace.models, "v2")

    def drop(value: float) -> str:
        return check_ndcg(
            workspace,
            registry,
            second,
            most=0.01,
            measure=lambda *_: Drop(value, 0.5, 0.5 - value, "on made-up figures"),
        )

    with pytest.raises(MissingInputError, match="leave out --max-ndcg-drop"):
        drop(0.0)
    registry.promote(first, at=NOW, by="ann")
    for value in (-0.2, 0.0, 0.01):
        assert "of the promoted v1" in drop(value)
    for value in (0.011, float("nan")):
        with pytest.raises(BundleError, match=r"v2 is not promoted: .* allowed are 0\.01"):
            drop(value)


def test_the_serving_logs_outcomes_decide_where_there_are_enough(
    online_world: OnlineWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Popular items were clicked; v2 likes them, v3 the others."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    workspace = Workspace(tmp_path)
    up, down = add(workspace.models, "v2", sign=1.0), add(workspace.models, "v3", sign=-1.0)
    popular, unpopular = "item 10", "item 11"
    stored = [online_world.rows["item_stats", (item,)]["item_popularity"] for item in (popular, unpopular)]
    assert stored[0] > 0 > stored[1]
    items = (popular, unpopular)
    count = LEAST_LISTS + 5
    requests = [RankRequest(f"r{n}", f"user {n}", items, AT) for n in range(count)]
    log(workspace.serving_log, served(online_world, requests))
    shown = [
        exposure(request.user_id, item, NOW, request_id=request.request_id, click=item == popular)
        for request in requests
        for item in items
    ]
    write_world(tmp_path, shown)
    found = ndcg_drop(workspace, up, down)
    assert found.judged_on == f"on {count} requests of the serving log"
    assert (found.promoted, found.candidate) == (1.0, pytest.approx(1 / np.log2(3)))
    assert found.value == pytest.approx(1 - 1 / np.log2(3))
    assert ndcg_drop(workspace, down, up).value == pytest.approx(-found.value)
    assert run(["model", "promote", "v2"]) == 0
    assert run(["model", "promote", "v3", "--max-ndcg-drop", "0.01"]) == 1
    assert "v3 is not promoted: NDCG@10 0.6309, 1.0000 of the promoted v2" in capsys.readouterr().err
    assert run(["model", "promote", "v3", "--max-ndcg-drop", "0.5", "--note", "known"]) == 0
    assert run(["model", "rollback", "--note", "worse"]) == 0
    capsys.readouterr()
    assert run(["model", "show", "v2", "--json"]) == 0
    shown_promotions = json.loads(capsys.readouterr().out)["promotions"]
    assert [(entry["action"], entry["note"]) for entry in shown_promotions] == [
        ("promote", ""),
        ("rollback", "worse"),
    ]
