"""What is compared: every stored value that the log has, and every column of the model's matrix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ranking_service.bundle import Bundle
from ranking_service.contract import Contract, ViewPlan
from skew_checks.judging.compare import model_tolerance, stored_tolerance
from skew_checks.replay.view_facts import ViewFacts
from skew_checks.result.parts import Unit

USER, ITEM = ("user_id",), ("item_id",)


@dataclass(frozen=True)
class Subject:
    """One of the two comparisons of one feature."""

    feature: str
    view: str
    """The feature view, or the request-time transform, it comes from."""
    is_model_column: bool
    unit: Unit
    relative: float
    """Tolerance."""
    budget: float
    column: int = -1
    """Of the matrix; -1 for a stored value."""
    is_per_request: bool = False
    """The log holds a user's stored values once per request, so they are compared once."""


def subjects_of(
    bundle: Bundle, contract: Contract, facts: Mapping[str, ViewFacts], *, budget: float
) -> tuple[Subject, ...]:
    """Stored features that the bundle's plan reads, and that the log therefore has; then the matrix's columns."""
    units = {view.name: _unit(view) for view in contract.views}
    declared = {name: found.budget for name, found in facts.items() if found.budget is not None}
    logged = {field.name for view in bundle.contract.views for field in view.fields}
    stored = [
        Subject(
            field.name,
            view.name,
            False,
            units[view.name],
            stored_tolerance(field),
            declared.get(view.name, budget),
            is_per_request=view.join_keys == USER,
        )
        for view in contract.views
        for field in view.fields
        if field.name in logged
    ]
    columns = [
        Subject(
            feature.name,
            feature.origin,
            True,
            units.get(feature.origin, Unit.REQUESTS),
            model_tolerance(feature),
            declared.get(feature.origin, budget),
            column=place,
        )
        for place, feature in enumerate(contract.features)
    ]
    return (*stored, *columns)


def _unit(view: ViewPlan) -> Unit:
    if view.join_keys == USER:
        return Unit.REQUESTS
    return Unit.ITEM_ROWS if view.join_keys == ITEM else Unit.PAIR_ROWS
