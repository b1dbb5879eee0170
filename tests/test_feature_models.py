"""Which trained models a changed declaration would break; each change is planted in the contract of today."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import xgboost

from feature_repo.errors import FeatureError
from feature_repo.workspace import Workspace
from ranking_service import bundle
from ranking_service.compile_contract import compile_declared
from ranking_service.contract import Contract, Field, TransformPlan, ViewPlan
from ranking_service.contract_check import breaks, check_models
from ranking_service.declaration_check import check_declarations
from ranking_service.models.registry import Registry

TODAY = compile_declared("marquee", "ranker_v1")


def with_view(name: str, **changes: object) -> Contract:
    """Today's contract with one view, or transform, changed."""

    def change(plans: tuple[ViewPlan, ...] | tuple[TransformPlan, ...]) -> tuple:
        return tuple(replace(plan, **changes) if plan.name == name else plan for plan in plans)

    return replace(TODAY, views=change(TODAY.views), transforms=change(TODAY.transforms))


def fields(name: str) -> tuple[Field, ...]:
    return next(plan.fields for plan in (*TODAY.views, *TODAY.transforms) if plan.name == name)


def changed(view: str, index: int, **changes: object) -> Contract:
    """Today's contract with one field of a view changed."""
    all_fields = list(fields(view))
    all_fields[index] = replace(all_fields[index], **changes)
    return with_view(view, fields=tuple(all_fields), fingerprint="other")


def without(contract: Contract, name: str) -> Contract:
    return replace(
        contract,
        views=tuple(view for view in contract.views if view.name != name),
        transforms=tuple(plan for plan in contract.transforms if plan.name != name),
        features=tuple(feature for feature in contract.features if feature.origin != name),
    )


def test_nothing_changed_breaks_nothing() -> None:
    assert list(breaks(TODAY, TODAY)) == []


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (without(TODAY, "user_totals"), "view user_totals is gone from the service, with 13 fields"),
        (without(TODAY, "surface_fit"), "transform surface_fit is gone from the service, with 7 features"),
        (
            with_view("user_totals", fields=fields("user_totals")[1:], fingerprint="other"),
            "feature user_exposures of view user_totals is gone",
        ),
        (
            changed("user_totals", 0, name="user_shown"),
            "feature user_exposures of view user_totals is gone (renamed to user_shown?)",
        ),
        (
            changed("user_totals", 0, value_type="INT64"),
            "feature user_exposures of view user_totals was FLOAT, now INT64",
        ),
        (
            changed("user_totals", 0, default=1.0),
            "feature user_exposures of view user_totals had the default 0.0, now 1.0",
        ),
        (with_view("user_totals", ttl_seconds=60.0), "view user_totals had a ttl of 172800 s, now 60 s"),
        (
            with_view("user_item", join_keys=("user_id",)),
            "view user_item was keyed by user_id, item_id, now by user_id",
        ),
        (
            with_view("user_totals", fingerprint="other"),
            "view user_totals: its query changed (sql/user_totals.sql or _prelude.sql)",
        ),
        (
            with_view(
                "user_totals", fingerprint="other", fields=(*fields("user_totals"), Field("new", "FLOAT", 0.0))
            ),
            "view user_totals: its query changed (sql/user_totals.sql or _prelude.sql), with new new",
        ),
        (
            with_view("surface_fit", fingerprint="other"),
            "transform surface_fit: its code changed (feature_repo/transforms.py)",
        ),
        (
            replace(TODAY, request_fields=TODAY.request_fields[1:]),
            "feature surface of the request is gone",
        ),
        (
            replace(TODAY, features=TODAY.features[1:]),
            f"feature {TODAY.features[0].name} of {TODAY.features[0].origin} is no model feature any more",
        ),
    ],
)  # fmt: skip
def test_a_change_is_named_once_with_its_view(declared: Contract, message: str) -> None:
    found = list(breaks(TODAY, declared))
    assert message in found
    assert len(found) == 1 or "gone" in message


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """Two published versions of today's contract, the older one promoted."""
    rows = np.random.default_rng(0).normal(size=(20, len(TODAY.features))).astype(np.float32)
    matrix = xgboost.DMatrix(rows, label=rows[:, 0] > 0, feature_names=list(TODAY.feature_names))
    booster = xgboost.train({"objective": "binary:logistic"}, matrix, 1)
    for version in ("v1", "v2"):
        bundle.publish(tmp_path / "models", version=version, booster=booster, contract=TODAY, manifest={})
    promoted = bundle.load(tmp_path / "models" / "v1")
    Registry.open(tmp_path / "models").promote(promoted, at=datetime.now(UTC), by="test")
    return Workspace(tmp_path)


def test_models_of_todays_declarations_are_whole(workspace: Workspace) -> None:
    assert check_declarations(workspace) == []


def test_every_broken_version_is_named_and_the_served_one_is_an_error(workspace: Workspace) -> None:
    found = check_models(workspace, lambda _project, _service: without(TODAY, "user_totals"))
    assert {(problem.where, problem.is_error) for problem in found} == {
        ("bundle v1", True),
        ("bundle v2", False),
    }
    assert all(problem.mend == "restore it or retrain with `marquee model train`" for problem in found)


def test_a_service_that_is_gone_breaks_its_models(workspace: Workspace) -> None:
    def gone(_project: str, service: str) -> Contract:
        raise FeatureError(f"no feature service {service}; restore it")

    found = check_models(workspace, gone)
    assert ["no feature service ranker_v1" in problem.what for problem in found] == [True, True]


def test_a_damaged_bundle_is_a_problem_and_hides_no_other(workspace: Workspace) -> None:
    (workspace.models / "v1" / "model.ubj").write_bytes(b"")
    found = check_models(workspace, lambda _project, _service: without(TODAY, "user_totals"))
    assert "damaged" in found[0].what
    assert {problem.where for problem in found} == {"bundle v1", "bundle v2"}


def test_a_promotion_that_points_nowhere_is_a_problem(workspace: Workspace) -> None:
    (workspace.models / "v1").rename(workspace.models / ".v1")
    assert "version v1 was promoted, but is not there" in check_models(workspace)[0].what


def test_without_models_there_is_nothing_to_break(tmp_path: Path) -> None:
    assert check_models(Workspace(tmp_path)) == []
