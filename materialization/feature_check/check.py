"""`marquee features check`, the part that needs no model: every rule, all problems at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from feature_repo.workspace import Workspace
from materialization.feature_check import field_rules, name_rules, query_rules, registry_rules, wiring_rules
from materialization.feature_check.declarations import Declarations
from materialization.feature_check.problem import Problem

RULES: tuple[Callable[[Declarations], Iterator[Problem]], ...] = (
    wiring_rules.entities_known,
    wiring_rules.names_unique,
    wiring_rules.services_whole,
    wiring_rules.queries_paired,
    wiring_rules.transforms_paired,
    wiring_rules.all_defined,
    field_rules.described,
    field_rules.tagged,
    field_rules.timed,
    name_rules.unique_in_service,
    name_rules.unreserved,
    name_rules.distinct_in_store,
    query_rules.queries_fit,
    query_rules.queries_timeless,
)


def check_features(workspace: Workspace, declared: Declarations | None = None) -> list[Problem]:
    """Everything wrong with the declarations (the repository's, if none are given), applied or not."""
    declared = declared or Declarations.of_repository()
    return [*declaration_problems(declared), *registry_rules.applied(workspace, declared)]


def declaration_problems(declared: Declarations) -> list[Problem]:
    """What the files alone show."""
    return [problem for rule in RULES for problem in rule(declared)]
