"""What changed features would have been for the requests that were served: the skew check on features built aside."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from feature_repo.errors import MissingInputError
from feature_repo.workspace import Workspace
from materialization import feast_store
from materialization.declared import batch_views
from materialization.feature_build.build import build_features, default_range
from materialization.progress import Report, silent
from skew_checks.check import check
from skew_checks.result.parts import Window
from skew_checks.result.report import SkewReport
from skew_checks.thresholds import Thresholds

PREFIX = ".against-log-"


@dataclass(frozen=True)
class AgainstLog:
    """What the declarations and SQL as they stand now make of the requests that were served."""

    rebuilt: dict[str, int]
    """Snapshots that had to be computed anew, by view: its SQL, declaration or events changed since they were built."""
    report: SkewReport
    """With "offline" as now declared, and "served" as it was."""


def check_against_log(
    workspace: Workspace,
    window: Window,
    *,
    report: Report = silent,
    step: Callable[[str], None] = lambda _sentence: None,
) -> AgainstLog:
    """Build what changed aside, and replay the window's requests on it. Leaves the workspace as it was.

    Raises MissingInputError without a serving log or events, and whatever the build or the check raises.
    """
    if not workspace.serving_log.is_dir():
        raise MissingInputError(
            f"{workspace.serving_log} is not there, so nothing was served to check against; run `marquee serve`"
        )
    with aside(workspace) as copy:
        step("registering the declarations aside")
        feast_store.apply_definitions(copy)
        first, last = default_range(copy)
        if window.start is not None:
            longest = max((view.view.ttl for view in batch_views() if view.view.ttl), default=timedelta())
            first = min(max(first, window.start - longest), last)
        summary = build_features(copy, start=first, end=last, only_present=True, report=report)
        usual = Thresholds()
        asked = min(usual.min_requests, window.sample or usual.min_requests)
        found = check(copy, window, thresholds=replace(usual, min_requests=asked), step=step)
    rebuilt = {name: view.written for name, view in summary.views.items() if view.written}
    return AgainstLog(rebuilt, found)


@contextmanager
def aside(workspace: Workspace) -> Iterator[Workspace]:
    """A workspace with the same events, models, log and built features, gone afterwards with all that is built in it.

    Snapshots are linked, not copied: a build replaces them and never writes into one.
    """
    workspace.home.mkdir(parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix=PREFIX, dir=workspace.home))
    try:
        copy = Workspace(home)
        for name in ("events", "models", "serving_log"):
            (home / name).symlink_to(workspace.home / name, target_is_directory=True)
        if workspace.features.is_dir():
            shutil.copytree(workspace.features, copy.features, copy_function=_linked)
        if workspace.registry.exists():
            shutil.copy2(workspace.registry, copy.registry)
        yield copy
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _linked(source: str, target: str) -> None:
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)
