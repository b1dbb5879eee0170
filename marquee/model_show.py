"""`marquee model show`: all that a bundle says of itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
from rich.table import Table
from rich.text import Text

from marquee.terminal import console

if TYPE_CHECKING:
    from ranking_service.bundle import Bundle
    from ranking_service.models.promotions import Promotion


@click.command()
@click.argument("named", metavar="[VERSION]", required=False)
@click.option("--features", is_flag=True, help="Every feature with its type, default and meaning.")
@click.option("--json", "as_json", is_flag=True, help="The whole manifest and the promotions, as JSON.")
def show(named: str | None, features: bool, as_json: bool) -> int:
    """What VERSION (or a bundle's folder; the served one without) was trained on, expects, and is worth.

    The exit code is 1 for a bundle that the present code cannot serve.
    """
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import load
    from ranking_service.models.registry import registry_of
    from ranking_service.transform_code import code_problems

    registry = registry_of(Workspace.from_environment())
    bundle = load(registry.chosen(named))
    history = [entry for entry in registry.promotions() if entry.version == bundle.version]
    problems = [str(problem) for problem in code_problems(bundle.version, bundle.contract)]
    if as_json:
        promotions = [json.loads(entry.to_json()) for entry in history]
        click.echo(json.dumps({**bundle.manifest, "promotions": promotions, "problems": problems}, indent=1))
        return 1 if problems else 0
    console.print(_facts(bundle, history))
    if features:
        console.print(_features(bundle))
    for problem in problems:
        click.echo(f"problem: {problem}", err=True)
    return 1 if problems else 0


def _facts(bundle: Bundle, history: Sequence[Promotion]) -> Table:
    table = Table(
        title=Text(bundle.version), title_justify="left", box=None, show_header=False, pad_edge=False
    )
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, told in _lines(bundle):
        table.add_row(name, Text(told))
    for entry in history:
        note = f": {entry.note}" if entry.note else ""
        what = "promoted" if entry.action == "promote" else "rolled back to"
        table.add_row(what, Text(f"{entry.at:%Y-%m-%d %H:%M:%S} by {entry.by}{note}"))
    if not history:
        table.add_row("promoted", Text("never"))
    return table


def _lines(bundle: Bundle) -> Iterator[tuple[str, str]]:
    contract, told = bundle.contract, bundle.manifest
    yield "folder", str(bundle.path)
    yield "service", f"{contract.service} of project {contract.project}"
    if "split" in told:
        split = {name: str(instant)[:16] for name, instant in told["split"].items()}
        yield "trained on", f"{split['start']} to {split['validate_from']}, label {told.get('label', '')}"
        yield "validated on", f"{split['validate_from']} to {split['test_from']}"
        yield "test days", f"{split['test_from']} to {split['end']}"
    if "validation" in told:
        yield "validation", ", ".join(f"{name} {value:.4f}" for name, value in told["validation"].items())
    yield "model", f"{bundle.booster.num_boosted_rounds()} rounds, {len(contract.features)} features"
    origins = Counter(feature.origin for feature in contract.features)
    for view in contract.views:
        ttl = f"ttl {view.ttl_seconds / 86_400:g} days" if view.ttl_seconds else "no ttl"
        yield (
            f"view {view.name}",
            f"by {' x '.join(view.join_keys)}, {len(view.fields)} fields, {origins[view.name]} features, {ttl}, "
            f"fingerprint {view.fingerprint or 'none'}",
        )
    for plan in contract.transforms:
        yield f"transform {plan.name}", f"{origins[plan.name]} features, fingerprint {plan.fingerprint}"
    yield "request fields", ", ".join(field.name for field in contract.request_fields)
    for name, digest in told["files"].items():
        yield name, f"sha256 {digest}"
    yield "manifest.json", f"sha256 {told['sha256']}"


def _features(bundle: Bundle) -> Table:
    table = Table("column", "feature", "type", "default", "from", "meaning", box=None, pad_edge=False)
    for index, feature in enumerate(bundle.contract.features):
        kind = (
            f"{len(feature.categories)} categories"
            if feature.categories
            else feature.field.value_type.lower()
        )
        cells = (
            str(index),
            feature.name,
            kind,
            str(feature.field.default),
            feature.origin,
            feature.description,
        )
        table.add_row(*map(Text, cells))
    return table
