"""`marquee features check`: the declarations by themselves, and against every trained model."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from feature_repo.workspace import Workspace
from materialization.feature_check.check import check_features
from materialization.feature_check.problem import Problem
from ranking_service.contract_check import check_models


def check_declarations(workspace: Workspace) -> list[Problem]:
    """All problems at once, errors first."""
    problems = [*check_features(workspace), *check_models(workspace)]
    return sorted(problems, key=lambda problem: not problem.is_error)


def stops_a_build(problem: Problem) -> bool:
    """Whether the declarations themselves are wrong; a bundle that a change breaks stops nothing but its serving."""
    return problem.is_error and not problem.where.startswith("bundle ")


def render(problems: list[Problem]) -> RenderableType:
    """One row per problem, and a line that counts them."""
    errors = sum(problem.is_error for problem in problems)
    count = Text(f"{errors} errors, {len(problems) - errors} warnings")
    if not problems:
        return Text("nothing wrong; next: marquee features apply")
    table = Table("", "where", "what", "way out", show_lines=True)
    for problem in problems:
        kind = Text("error", "red") if problem.is_error else Text("warning", "yellow")
        table.add_row(kind, *(Text(text) for text in (problem.where, problem.what, problem.mend)))
    return Group(table, count)
