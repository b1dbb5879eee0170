"""`marquee features build`: every due snapshot that is missing or whose inputs changed."""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from feature_repo.errors import FeatureError, MissingInputError, SettingError
from feature_repo.workspace import Workspace
from materialization.declared import BatchView, batch_views
from materialization.events.store import EventStore
from materialization.feature_build.inputs import EventFile, event_files, inputs_fingerprint
from materialization.feature_build.instants import ceiling, grid, is_due
from materialization.feature_build.snapshot import (
    PARTIAL,
    Limits,
    connect,
    open_knowledge,
    partition_path,
    partitions,
    recorded_inputs,
    write_snapshot,
)
from materialization.progress import Report, silent

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Task:
    """One partition to write."""

    view: BatchView
    as_of: datetime
    path: Path
    fingerprint: str


@dataclass
class ViewSummary:
    """What a build did for one view."""

    written: int = 0
    kept: int = 0
    removed: int = 0
    """Snapshots of other instants whose inputs have changed since."""
    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class BuildSummary:
    """What a build did, by view."""

    first: datetime
    last: datetime
    views: dict[str, ViewSummary] = field(default_factory=dict)


def default_range(workspace: Workspace) -> tuple[datetime, datetime]:
    """From the first midnight (UTC) with something known to the first midnight after the last event."""
    source = EventStore(workspace.events).source()
    first, last = (datetime.fromisoformat(source[name]) for name in ("first_event", "last_event"))
    return ceiling(first, DAY), ceiling(last, DAY)


def build_features(
    workspace: Workspace,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    every: timedelta = timedelta(hours=6),
    views: Iterable[str] = (),
    memory_limit: str = "2GB",
    workers: int = 2,
    fresh: bool = False,
    only_present: bool = False,
    report: Report = silent,
) -> BuildSummary:
    """Write the snapshots due in [start, end]; those whose inputs did not change are kept.

    With `only_present` due is what is there already, whatever `every` says: nothing is added.

    A snapshot of another instant is removed if its inputs changed: the join would take it for a new one.
    Each worker may use `memory_limit`, and spills beyond it. Safe to kill and to run again.
    Raises SettingError for a step that would starve a view, FeatureError for wrong declarations or a second build,
    MissingInputError without events.
    """
    views = list(views)
    chosen = _chosen(views)
    if not only_present:
        _check_step(every, chosen)
    first, last = default_range(workspace)
    start, end = start or first, end or last
    instants = list(grid(start, end, every))
    if not instants:
        raise MissingInputError(
            "no snapshot instant lies between --from and --to; widen the range or shorten --every"
        )
    summary = BuildSummary(start, end, {view.name: ViewSummary() for view in chosen})
    limits = Limits(memory_limit, workspace.home / "spill")
    with _alone(workspace):
        if fresh:
            _forget(workspace, views)
        _same_events(workspace)
        _remove_leftovers(workspace, chosen, limits)
        files = event_files(workspace.events)
        wanted = None if only_present else instants
        tasks = _tasks(workspace, chosen, files, instants=wanted, summary=summary)
        _run(tasks, files, limits, workers=workers, summary=summary, report=report)
    return summary


def _check_step(every: timedelta, views: list[BatchView]) -> None:
    """A grid that misses a view's instants, or lets its rows expire in between, would starve it without a word."""
    problems = [
        f"{view.name} wants a snapshot every {view.cadence}, which --every {every} meets only now and then"
        for view in views
        if view.cadence and view.cadence % every and every % view.cadence
    ]
    problems += [
        f"{view.name}'s rows live for {view.view.ttl} (ttl), less than --every {every}"
        for view in views
        if view.view.ttl and every > view.view.ttl
    ]
    if problems:
        raise SettingError(
            "; ".join(problems) + "; choose a divisor or a multiple of the cadence within the ttl"
        )


def _forget(workspace: Workspace, views: list[str]) -> None:
    """Remove what was built: of the named views, or all of it."""
    for folder in [workspace.feature_path(view) for view in views] or [workspace.features]:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Two builds at once would remove each other's unfinished files."""
    with (workspace.home / ".features.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FeatureError(
                f"{workspace.features} is being built by another process; wait for it to end, then try again"
            ) from error
        yield


def _chosen(names: Iterable[str]) -> list[BatchView]:
    known = {view.name: view for view in batch_views()}
    wanted = list(names) or list(known)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise FeatureError(f"no view named {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in wanted]


def _same_events(workspace: Workspace) -> None:
    """Features of two event logs must never mix: a partition of the old one would join as if it were true."""
    source = EventStore(workspace.events).source()
    identity = f"{source['kind']} {source['arguments']}"
    mark = workspace.features / "EVENTS"
    if mark.is_file() and mark.read_text() != identity:
        raise FeatureError(
            f"{workspace.features} was built from other events: found {mark.read_text()}, "
            f"expected {identity}; build everything with --fresh, or use another MARQUEE_HOME"
        )
    workspace.features.mkdir(parents=True, exist_ok=True)
    mark.write_text(identity)


def _remove_leftovers(workspace: Workspace, views: list[BatchView], limits: Limits) -> None:
    """Of a killed build."""
    if limits.spill is not None:
        shutil.rmtree(limits.spill, ignore_errors=True)
    for view in views:
        for partial in workspace.feature_path(view.name).glob(f"*/*{PARTIAL}"):
            partial.unlink(missing_ok=True)


def _tasks(
    workspace: Workspace,
    views: list[BatchView],
    files: list[EventFile],
    *,
    instants: list[datetime] | None,
    summary: BuildSummary,
) -> dict[datetime, list[Task]]:
    """By instant; without `instants` those in the summary's range that have a snapshot already."""
    tasks: dict[datetime, list[Task]] = {}
    for view in views:
        folder = workspace.feature_path(view.name)
        present = partitions(folder)
        asked = [as_of for as_of in present if summary.first <= as_of <= summary.last]
        if instants is not None:
            asked = [as_of for as_of in instants if is_due(as_of, view.cadence)]
        due = {as_of: partition_path(folder, as_of) for as_of in asked}
        for as_of, path in (present | due).items():
            fingerprint = inputs_fingerprint(view, files, as_of)
            if recorded_inputs(path) == fingerprint:
                summary.views[view.name].kept += as_of in due
            elif as_of in due:
                tasks.setdefault(as_of, []).append(Task(view, as_of, path, fingerprint))
            else:
                path.unlink()
                summary.views[view.name].removed += 1
    return dict(sorted(tasks.items()))


def _run(
    tasks: dict[datetime, list[Task]],
    files: list[EventFile],
    limits: Limits,
    *,
    workers: int,
    summary: BuildSummary,
    report: Report,
) -> None:
    total = sum(map(len, tasks.values()))
    done = 0
    with ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(_run_instant, group, files, limits) for group in tasks.values()]
        try:
            for finished in as_completed(running):
                for task, rows, seconds in finished.result():
                    view = summary.views[task.view.name]
                    view.written, view.rows = view.written + 1, view.rows + rows
                    view.bytes, view.seconds = view.bytes + task.path.stat().st_size, view.seconds + seconds
                    done += 1
                    report("building snapshots", done, total)
        finally:
            pool.shutdown(cancel_futures=True)  # after an error: what has not begun never does


def _run_instant(tasks: list[Task], files: list[EventFile], limits: Limits) -> list[tuple[Task, int, float]]:
    results = []
    with connect(limits) as connection:
        open_knowledge(connection, files, tasks[0].as_of)
        for task in tasks:
            started = time.perf_counter()
            rows = write_snapshot(
                connection, task.view, as_of=task.as_of, path=task.path, fingerprint=task.fingerprint
            )
            results.append((task, rows, time.perf_counter() - started))
    return results
