"""How long work tells what it is doing: a callback, and the bar a terminal shows for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

Report: TypeAlias = Callable[[str, int, int], None]
"""`report(step, done, total)`: called as the step named `step` advances from 0 to `total`."""


def silent(_step: str, _done: int, _total: int) -> None:
    """The report nobody reads."""


@contextmanager
def bars(console: Console) -> Iterator[Report]:
    """A report that draws one bar per step on `console`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def report(step: str, done: int, total: int) -> None:
            if step not in tasks:
                tasks[step] = progress.add_task(step, total=total)
            progress.update(tasks[step], completed=done, total=total)

        yield report


@contextmanager
def spoken(console: Console) -> Iterator[Callable[[str], None]]:
    """A sentence at the start of each step; on a terminal with a spinner while the step runs."""
    with console.status("") as status:

        def say(sentence: str) -> None:
            console.print(f"{sentence} ...")
            status.update(sentence)

        yield say
