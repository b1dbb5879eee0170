"""Which code a request-time transform runs: its own and all it reaches, as a fingerprint that a bundle keeps.

A model is trained on what a transform computes, so a bundle is only served with the code it was trained with.
What counts are the statements, whatever the layout: not comments, docstrings, line breaks or the types of
arguments and results. The fingerprint does not depend on Python's version. Libraries (numpy) are not followed.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from feature_repo.errors import BundleError
from feature_repo.transforms import TRANSFORMS
from ranking_service.contract import Contract, Field

OWN_PACKAGE = "feature_repo."
WAY_OUT = (
    "restore that code (feature_repo/transforms.py), serve a bundle trained with the present one, or retrain with "
    "`marquee model train`"
)
UNTOLD = {"ctx", "kind", "type_comment"}
"""Parts of a syntax tree that do not change what a transform computes."""

SourceOf: TypeAlias = Callable[[str], str | None]
"""From a module's name to its source; None for a library."""


def fingerprint(name: str, fields: Sequence[Field]) -> str:
    """Of the transform `name` as it is now, giving `fields`: changes with their shapes and with its code."""
    shapes = [(field.name, field.value_type, str(field.default)) for field in fields]
    code = _present_code(TRANSFORMS[name].__module__, TRANSFORMS[name].__name__)
    return hashlib.sha256(json.dumps([name, shapes, code]).encode()).hexdigest()[:16]


@cache
def _present_code(module: str, name: str) -> dict[str, Any]:
    """Read once: a process runs the code it started with, and a server opens further bundles between requests."""
    return code_of(module, name)


def changed_transforms(contract: Contract) -> tuple[str, ...]:
    """The contract's transforms whose code is not what it was at training; those that are gone are not among them."""
    return tuple(
        plan.name
        for plan in contract.transforms
        if plan.name in TRANSFORMS and fingerprint(plan.name, plan.fields) != plan.fingerprint
    )


def code_problems(version: str, contract: Contract) -> Iterator[BundleError]:
    """What the present code lacks, or has otherwise than the bundle needs it."""
    gone = [plan.name for plan in contract.transforms if plan.name not in TRANSFORMS]
    if gone:
        yield BundleError(
            f"bundle {version} needs the transforms {', '.join(gone)}, which feature_repo/transforms.py lacks; "
            "restore them or retrain with `marquee model train`"
        )
    changed = changed_transforms(contract)
    if changed:
        yield BundleError(
            f"bundle {version} was trained with other code of the transforms {', '.join(changed)}; {WAY_OUT}"
        )


def own_source(module: str) -> str | None:
    return inspect.getsource(import_module(module)) if module.startswith(OWN_PACKAGE) else None


def code_of(module: str, name: str, source_of: SourceOf = own_source) -> dict[str, Any]:
    """Every top-level definition that the one named reaches, itself too, as plain JSON by "module:name"."""
    definitions = cache(lambda place: dict(_definitions(source_of(place) or "")))
    reached: dict[str, Any] = {}
    waiting = [(module, name)]
    while waiting:
        place, wanted = waiting.pop()
        if f"{place}:{wanted}" in reached or wanted not in definitions(place):
            continue
        found = definitions(place)[wanted]
        reached[f"{place}:{wanted}"] = _plain(found)
        if isinstance(found, ast.ImportFrom) and found.module:
            waiting.append((found.module, found.names[0].name))
        waiting += [(place, node.id) for node in ast.walk(found) if isinstance(node, ast.Name)]
    return dict(sorted(reached.items()))


def _definitions(source: str) -> Iterator[tuple[str, ast.AST]]:
    """What a module binds at its top level; an import statement apart for each name."""
    for node in _without_types(ast.parse(source)).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            yield node.name, node
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name, ast.ImportFrom(node.module, [alias], node.level)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name, ast.Import([alias])
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in ast.walk(node):
                if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store):
                    yield target.id, node


def _without_types(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    return tree


def _plain(node: Any) -> Any:
    """A syntax tree as JSON. Empty parts are left out: which of them there are depends on Python's version."""
    if isinstance(node, list):
        return [_plain(part) for part in node if not _is_docstring(part)]
    if isinstance(node, ast.Constant):
        return repr(node.value)
    if not isinstance(node, ast.AST):
        return node
    parts = {name: part for name, part in ast.iter_fields(node) if name not in UNTOLD}
    return [
        type(node).__name__,
        {name: _plain(part) for name, part in parts.items() if part not in (None, [])},
    ]


def _is_docstring(node: Any) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
