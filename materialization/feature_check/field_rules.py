"""Every field says what it means and what stands in for a missing value; every view when it is computed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from feast import Field

from feature_repo.errors import FeatureError
from materialization.declared import parse_default
from materialization.feature_check.declarations import Declarations
from materialization.feature_check.problem import Problem

ROLES = ("model", "input")


def described(declared: Declarations) -> Iterator[Problem]:
    """Fields and views without a description."""
    mend = "say in one line what it measures, and in which unit"
    for where, field in declared.owned_fields():
        if not field.description.strip():
            yield Problem(where, f"{field.name} has no description", mend)
    for view in (*(view.view for view in declared.views), *declared.on_demand_views):
        if not view.description.strip():
            yield Problem(f"view {view.name}", "has no description", "say in one line what it holds")


def tagged(declared: Declarations) -> Iterator[Problem]:
    """Defaults, tolerances and roles that are missing or unreadable."""
    for where, field in declared.owned_fields():
        for what, mend in _tag_problems(field):
            yield Problem(where, what, mend)


def _tag_problems(field: Field) -> Iterator[tuple[str, str]]:
    try:
        parse_default(field)
    except FeatureError as error:
        what, _, mend = str(error).partition("; ")
        yield what, mend
    tolerance = field.tags.get("tolerance", "0")
    if not _is_tolerance(tolerance):
        yield f"{field.name}: tolerance {tolerance!r} is not a number from 0", "write a relative difference"
    role = field.tags.get("role", "model")
    if role not in ROLES:
        yield f"{field.name}: role {role!r} is unknown", f"take one of {', '.join(ROLES)}"


def _is_tolerance(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False


def timed(declared: Declarations) -> Iterator[Problem]:
    """Cadences that cannot be read, and views that expire before their next snapshot."""
    for view in declared.views:
        try:
            cadence = view.cadence
        except FeatureError as error:
            yield Problem(f"view {view.name}", str(error), "mend its tag `cadence`")
            continue
        ttl = view.view.ttl or timedelta(0)
        if timedelta(0) < ttl < cadence:
            yield Problem(
                f"view {view.name}",
                f"rows expire after {ttl} but are made every {cadence}",
                "make ttl longer than the cadence",
            )
