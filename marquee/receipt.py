"""`marquee receipt`: what happened to one logged request, and the proof that it is true."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from marquee.terminal import DAY, console

if TYPE_CHECKING:
    from feature_repo.workspace import Workspace
    from ranking_service.bundle import Bundle
    from ranking_service.serving_log.feature_lines import FeatureLine
    from ranking_service.serving_log.find import LoggedRequest
    from ranking_service.serving_log.receipt import ItemReceipt, Proof, Receipt

SHOWN_DIFFERENCES = 10


@click.command(short_help="Rebuild and prove a logged ranking.")
@click.argument("request_id")
@click.option("--item", "items", multiple=True, help="A candidate to show; may be repeated.")
@click.option(
    "--top", default=3, show_default=True, type=click.IntRange(0), help="Best candidates to show; 0 all."
)
@click.option(
    "--features", default=10, show_default=True, type=click.IntRange(0), help="Lines per candidate; 0 all."
)
@click.option("--served-id", help="One of several requests of the same id.")
@click.option("--date", "day", type=DAY, help="UTC day of the request; without it every day is searched.")
@click.option("--user", help="Whose request; tells whether the log takes this user at all.")
@click.option("--bundle", help="The bundle that served it, as a folder. [default: by its version]")
@click.option(
    "--log", type=click.Path(path_type=Path), help="Folder of the serving log. [default: the workspace's]"
)
@click.option("--json", "as_json", is_flag=True, help="Everything, as JSON.")
def receipt(
    request_id: str,
    items: tuple[str, ...],
    top: int,
    features: int,
    served_id: str | None,
    day: datetime | None,
    user: str | None,
    bundle: str | None,
    log: Path | None,
    as_json: bool,
) -> int:
    """Rebuild what happened to a request from the serving log, and prove it.

    Shows the request, its best candidates, and of each the features: as stored or sent, the default that took the
    place of a missing one, the row's age at request time, where it came from, and what it added to the score. The
    proof recomputes the model's input from the logged values, and the scores with the logged bundle, and compares
    every bit. Exit code 1 when anything differs.
    """
    from feature_repo.workspace import Workspace
    from ranking_service.serving_log.find import Wanted, find
    from ranking_service.serving_log.receipt import receipt as rebuilt

    workspace = Workspace.from_environment()
    wanted = Wanted(request_id, served_id, day.date() if day else None, user)
    found = find(log or workspace.serving_log, wanted)
    receipts = [rebuilt(logged, _bundle(workspace, logged, bundle), items=items, top=top) for logged in found]
    if as_json:
        click.echo(_json(receipts))
    else:
        for one in receipts:
            _show(one, features or None)
        if len(receipts) > 1:
            console.print(f"{len(receipts)} requests have this id; --served-id chooses one")
    return 0 if all(one.proof.holds or not one.proof.is_possible for one in receipts) else 1


def _bundle(workspace: Workspace, logged: LoggedRequest, named: str | None) -> Bundle:
    from ranking_service.bundle import load
    from ranking_service.models.registry import registry_of

    registry = registry_of(workspace)
    return load(registry.chosen(named) if named else registry.folder(logged.bundle_version))


def _json(receipts: list[Receipt]) -> str:
    """Instants as ISO 8601; numbers that are none as null."""
    import json
    from dataclasses import asdict

    from ranking_service.contract import without_nan

    content = [asdict(one) | {"proven": one.proof.holds} for one in receipts]
    return json.dumps(without_nan(content), indent=1, default=lambda value: value.isoformat())


def _show(one: Receipt, features: int | None) -> None:
    from rich.text import Text

    request = one.request
    console.print(
        Text(f"request {request['request_id']} ({request['served_id']}) of user {request['user_id']}"),
        Text(
            f"received {request['received_timestamp']:%Y-%m-%d %H:%M:%S} UTC, bundle {request['bundle_version']}, "
            f"level {request['level']}{', ' + request['reason'] if request['reason'] else ''}; "
            f"{request['returned_count']} of {request['candidate_count']} candidates returned"
        ),
        sep="\n",
    )
    for item in one.items:
        console.print(_item_table(item, features))
    for line in _proof_lines(one.proof):
        console.print(Text(line))


def _item_table(item: ItemReceipt, features: int | None) -> object:
    from rich import box
    from rich.table import Column, Table
    from rich.text import Text

    score = "without the model" if item.score is None else f"score {item.score:.6g}"
    title = f"rank {item.rank + 1}: {item.item_id}, {score}, sent at position {item.position}"
    if item.margin is not None and item.base is not None:
        title += f"; log odds {item.margin:.4f} = {item.base:.4f} + effects"
    if not item.is_returned:
        title += "; not returned"
    table = Table(
        Column("feature", overflow="fold"),  # whole: it is what one searches for
        "raw",
        "default",
        "model saw",
        "age",
        "origin",
        "effect",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=Text(title),
        title_justify="left",
    )
    for line in item.features[:features]:
        table.add_row(*map(Text, _cells(line)))
    return table


def _cells(line: FeatureLine) -> list[str]:
    effect = "" if line.contribution is None else f"{line.contribution:+.4f}"
    return [
        line.name,
        *map(_value, (line.raw, line.default, line.value)),
        _age(line.age_seconds),
        line.origin,
        effect,
    ]


def _value(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _proof_lines(proof: Proof) -> list[str]:
    if not proof.is_possible:
        return ["answered without the model: there is no score to prove"]
    if proof.holds:
        return [
            f"proven: {proof.candidates} x {proof.features} inputs, {proof.candidates} scores and their order "
            "recomputed, equal in every bit"
        ]
    lines = [
        f"{item}: {name} was {logged!r}, recomputed {again!r}"
        for item, name, logged, again in proof.wrong_inputs
    ]
    lines += [
        f"{item}: score was {logged!r}, recomputed {again!r}" for item, logged, again in proof.wrong_scores
    ]
    lines += [f"{item}: not at the place its score gives it" for item in proof.wrong_order]
    wrong = (proof.wrong_inputs, proof.wrong_scores, proof.wrong_order)
    counts = "{} inputs, {} scores, {} places differ".format(*map(len, wrong))
    more = [f"... and {len(lines) - SHOWN_DIFFERENCES} more"] if len(lines) > SHOWN_DIFFERENCES else []
    causes = [f"the code of {name} changed since the bundle was trained" for name in proof.changed_transforms]
    return [f"NOT PROVEN: {counts}", *lines[:SHOWN_DIFFERENCES], *more, *causes]
