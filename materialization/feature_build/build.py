"""`marquee features build`: every due snapshot that is missing or whose inputs changed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from feature_repo.errors import FeatureError, MissingInputError
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
    report: Report = silent,
) -> BuildSummary:
    """Write the snapshots due in [start, end]; those whose inputs did not change are kept.

    Each worker may use `memory_limit`, and spills beyond it. Safe to kill and to run again.
    Raises FeatureError for wrong declarations, MissingInputError without events.
    """
    if start is None or end is None:
        first, last = default_range(workspace)
        start, end = start or first, end or last
    if fresh:
        shutil.rmtree(workspace.features, ignore_errors=True)
    _same_events(workspace)
    chosen = _chosen(views)
    _remove_partials(workspace, chosen)
    files = event_files(workspace.events)
    summary = BuildSummary(start, end, {view.name: ViewSummary() for view in chosen})
    tasks = _tasks(workspace, chosen, files, instants=list(grid(start, end, every)), summary=summary)
    limits = Limits(memory_limit, workspace.home / "spill")
    _run(tasks, files, limits, workers=workers, summary=summary, report=report)
    return summary


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
            f"{workspace.features} was built from other events: found {mark.read_text()}, expected {identity}; "
            "build with --fresh, or use another MARQUEE_HOME"
        )
    workspace.features.mkdir(parents=True, exist_ok=True)
    mark.write_text(identity)


def _remove_partials(workspace: Workspace, views: list[BatchView]) -> None:
    for view in views:
        for partial in workspace.feature_path(view.name).glob(f"*/*{PARTIAL}"):
            partial.unlink(missing_ok=True)


def _tasks(
    workspace: Workspace,
    views: list[BatchView],
    files: list[EventFile],
    *,
    instants: list[datetime],
    summary: BuildSummary,
) -> dict[datetime, list[Task]]:
    tasks: dict[datetime, list[Task]] = {}
    for as_of in instants:
        for view in views:
            if not is_due(as_of, view.cadence):
                continue
            path = partition_path(workspace.feature_path(view.name), as_of)
            fingerprint = inputs_fingerprint(view, files, as_of)
            if recorded_inputs(path) == fingerprint:
                summary.views[view.name].kept += 1
            else:
                tasks.setdefault(as_of, []).append(Task(view, as_of, path, fingerprint))
    if not instants:
        raise MissingInputError("no snapshot instant lies between --from and --to; widen the range or shorten --every")
    return tasks


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
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


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
