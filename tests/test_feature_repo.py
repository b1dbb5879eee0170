"""Feast's own command line inside feature_repo/, and what every declared field carries."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from feature_repo.workspace import Workspace
from materialization.declared import BatchView, batch_views, on_demand_views, parse_default
from materialization.feast_store import run_feast
from materialization.feature_check.check import check_features
from materialization.feature_check.declarations import Declarations
from ranking_service.compile_contract import compile_declared

DECLARED = Declarations.of_repository()


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace(tmp_path_factory.mktemp("applied"))
    run_feast(workspace, "apply", "--skip-source-validation")
    return workspace


def test_what_is_applied_needs_no_further_plan(applied: Workspace) -> None:
    printed = run_feast(applied, "plan", "--skip-source-validation")
    assert "No changes to registry" in printed
    assert check_features(applied) == []


def test_feast_lists_every_view(applied: Workspace) -> None:
    printed = run_feast(applied, "feature-views", "list")
    assert [view.name for view in batch_views() if view.name not in printed] == []


def test_a_declaration_that_is_not_applied_is_a_warning(applied: Workspace) -> None:
    """Changed, added and removed ones alike; nothing of it is an error."""
    from dataclasses import replace

    views = {view.name: view for view in batch_views()}
    del views["user_item"]
    views["user_rhythm"] = BatchView(_with_another_ttl(views["user_rhythm"]), views["user_rhythm"].sql_path)
    found = [
        problem
        for problem in check_features(applied, replace(DECLARED, views=tuple(views.values())))
        if not problem.is_error
    ]
    assert {(problem.where, problem.what) for problem in found} == {
        ("view user_item", "is in the registry but not declared any more"),
        ("view user_rhythm", "has another ttl than the registry"),
    }
    assert {problem.mend for problem in found} == {"run `marquee features apply`"}


def _with_another_ttl(view: BatchView):  # type: ignore[no-untyped-def]
    from copy import copy

    changed = copy(view.view)
    changed.ttl = view.view.ttl * 2
    return changed


def test_without_a_registry_nothing_is_said_of_it(tmp_path: Path) -> None:
    assert check_features(Workspace(tmp_path)) == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "where_field", list(DECLARED.owned_fields()), ids=lambda pair: f"{pair[0]}:{pair[1].name}"
)
def test_every_field_has_a_meaning_a_type_and_a_default(where_field: tuple) -> None:
    _, field = where_field
    assert field.description.strip()
    default = parse_default(field)
    if field.dtype.to_value_type().name in ("FLOAT", "DOUBLE"):
        assert isinstance(default, float)
        assert math.isnan(default) or math.isfinite(default)
    else:
        assert isinstance(default, str)


def test_ranker_v1_has_at_least_150_features_from_every_family() -> None:
    contract = compile_declared("marquee", "ranker_v1")
    assert len(contract.features) >= 150
    assert len(set(contract.feature_names)) == len(contract.features)
    origins = {feature.origin for feature in contract.features}
    assert origins == {view.name for view in batch_views()} | {view.name for view in on_demand_views()}
