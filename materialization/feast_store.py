"""Feast on this workspace: `apply`, the opened store, and materialization."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
from feast import FeatureStore, FeatureView, Field, OnDemandFeatureView
from feast.protos.feast.core.Registry_pb2 import Registry
from google.protobuf.message import DecodeError
from redis.exceptions import RedisError

from feature_repo.errors import (
    FeatureError,
    FeatureSourceError,
    MissingInputError,
    OnlineStoreError,
    SettingError,
)
from feature_repo.workspace import FEATURE_REPO, HOME_VARIABLE, REDIS_VARIABLE, Workspace
from materialization.declared import BatchView, batch_views
from materialization.feast_settings import redis_url, repo_config
from materialization.feature_build.snapshot import partitions
from materialization.progress import Report, silent

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
STALEST = timedelta(days=2)
"""How far before its end a full materialization looks back where a view has no ttl."""


def open_store(workspace: Workspace) -> FeatureStore:
    """The applied store.

    Raises MissingInputError before the first apply, and where the registry is damaged or of another workspace.
    """
    if not workspace.registry.is_file():
        raise MissingInputError(f"nothing is applied in {workspace.home}; run `marquee features apply`")
    _check_registry(workspace)
    with _quiet():
        store = FeatureStore(config=repo_config(workspace))
        elsewhere = [view for view in store.list_batch_feature_views() if not _is_of(workspace, view)]
    if elsewhere:
        raise MissingInputError(
            f"{workspace.registry} reads {elsewhere[0].name} from {elsewhere[0].batch_source.path}, which is not in "
            f"{workspace.features}; run `marquee features apply` with {HOME_VARIABLE}={workspace.home}"
        )
    return store


def _is_of(workspace: Workspace, view: FeatureView) -> bool:
    """Whether a view of this repository reads this workspace's snapshots; views of others are not ours to judge."""
    if view.name not in {ours.name for ours in batch_views()}:
        return True
    path = Path(getattr(view.batch_source, "path", ""))
    return path.resolve().is_relative_to(workspace.features.resolve())


def _check_registry(workspace: Workspace) -> None:
    if not workspace.registry.exists():
        return
    try:
        Registry.FromString(workspace.registry.read_bytes())
    except DecodeError as error:
        raise MissingInputError(
            f"{workspace.registry} is damaged, not a Feast registry ({error}); delete it, then run "
            "`marquee features apply`"
        ) from error


def registered_on_demand_views(store: FeatureStore) -> list[OnDemandFeatureView]:
    """The registered on-demand views with their fields' descriptions and tags, which Feast stores but does not read."""
    protos = {
        proto.spec.name: proto.spec.features for proto in store.registry.proto().on_demand_feature_views
    }
    views: list[OnDemandFeatureView] = store.list_on_demand_feature_views()
    for view in views:
        view.features = [Field.from_proto(feature) for feature in protos[view.name]]
    return views


def apply_definitions(workspace: Workspace) -> str:
    """`feast apply` on this workspace; returns what Feast printed. Raises FeatureError where Feast refuses."""
    return run_feast(workspace, "apply", "--skip-source-validation")


def plan_definitions(workspace: Workspace) -> str:
    """`feast plan` on this workspace; returns what Feast printed. Raises FeatureError where Feast refuses."""
    return run_feast(workspace, "plan", "--skip-source-validation")


def run_feast(workspace: Workspace, *arguments: str) -> str:
    """Feast's own command line on the effective settings, in a process of its own: it imports files by folder."""
    repo_config(workspace)
    _check_registry(workspace)
    command = [sys.executable, "-W", "ignore", "-c", "from feast.cli.cli import cli; cli()"]
    settings = workspace.home / "feature_store.yaml"
    finished = subprocess.run(
        [*command, "--chdir", str(FEATURE_REPO), "--feature-store-yaml", str(settings), *arguments],
        env={**os.environ, HOME_VARIABLE: str(workspace.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise FeatureError(f"feast {' '.join(arguments)} failed:\n{finished.stderr.strip()[-2000:]}")
    return finished.stdout


def newest_snapshot(workspace: Workspace) -> datetime:
    """Instant of the newest built partition of any view. Raises MissingInputError before the first build."""
    newest = max(
        (as_of for folder in workspace.features.glob("*") for as_of in partitions(folder)), default=None
    )
    if newest is None:
        raise MissingInputError(f"no snapshots in {workspace.features}; run `marquee features build`")
    return newest


def materialize(
    workspace: Workspace,
    *,
    end: datetime,
    start: datetime | None = None,
    views: Sequence[str] = (),
    report: Report = silent,
) -> None:
    """`feast materialize`: bring the newest row of every entity in [start, end] into Redis; all views unless named.

    Without `start`, a view is read back as far as its ttl: an older row could not be served anyway.
    Raises MissingInputError where no snapshot lies in the range, SettingError for a backward one or without a Redis.
    """
    if start is not None and end < start:
        raise SettingError(f"the range ends at {end.isoformat()}, before its start {start.isoformat()}")
    store = writable_store(workspace)
    chosen = _chosen(views)
    since = {view.name: start or end - (view.view.ttl or STALEST) for view in chosen}
    _check_snapshots(workspace, since, end)
    for view in _reported(chosen, report):
        with _answering(view):
            store.materialize(since[view.name], end, feature_views=[view.name])


def materialize_incremental(
    workspace: Workspace, *, end: datetime, views: Sequence[str] = (), report: Report = silent
) -> None:
    """`feast materialize-incremental`: from each view's last end to `end`.

    Raises MissingInputError where no snapshot is as old as `end`, SettingError without a Redis.
    """
    store = writable_store(workspace)
    chosen = _chosen(views)
    _check_snapshots(workspace, {view.name: EPOCH for view in chosen}, end)
    for view in _reported(chosen, report):
        with _answering(view):
            store.materialize_incremental(end, feature_views=[view.name])


def writable_store(workspace: Workspace) -> FeatureStore:
    """Feast's own default would be whatever listens on this machine."""
    if redis_url() is None:
        raise SettingError(f"no Redis named; set {REDIS_VARIABLE}, such as redis://127.0.0.1:6379/0")
    return open_store(workspace)


def _check_snapshots(workspace: Workspace, since: Mapping[str, datetime], end: datetime) -> None:
    """Every view has snapshots, and at least one view has one in its range."""
    found = {name: sorted(partitions(workspace.feature_path(name))) for name in since}
    unbuilt = [name for name, instants in found.items() if not instants]
    if unbuilt:
        raise MissingInputError(
            f"no snapshots of {', '.join(unbuilt)} in {workspace.features}; run `marquee features build`"
        )
    if not any(since[name] <= at <= end for name, instants in found.items() for at in instants):
        first = min(instants[0] for instants in found.values())
        last = max(instants[-1] for instants in found.values())
        raise MissingInputError(
            f"no snapshot lies between {min(since.values()):%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M}, those in "
            f"{workspace.features} between {first:%Y-%m-%d %H:%M} and {last:%Y-%m-%d %H:%M} UTC; choose another "
            "range, or run `marquee features build`"
        )


def _chosen(names: Sequence[str]) -> list[BatchView]:
    known = {view.name: view for view in batch_views()}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise FeatureError(f"no view named {', '.join(unknown)}; there are {', '.join(known)}")
    return [known[name] for name in names or known]


def _reported(chosen: Sequence[BatchView], report: Report) -> Iterator[BatchView]:
    for done, view in enumerate(chosen):
        report("materializing views", done, len(chosen))
        yield view
    report("materializing views", len(chosen), len(chosen))


@contextlib.contextmanager
def _answering(view: BatchView) -> Iterator[None]:
    """Feast's own prints aside; a Redis that does not answer or a damaged partition is our error, naming the view."""
    try:
        with (
            _quiet(),
            reading_features(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            yield
    except RedisError as error:
        raise OnlineStoreError(
            f"materializing {view.name}: Redis does not answer ({error}); is {REDIS_VARIABLE} right?"
        ) from error


@contextlib.contextmanager
def reading_features() -> Iterator[None]:
    """Around a read of the offline store: a missing or damaged partition is a FeatureError that says what to do."""
    try:
        yield
    except FeatureSourceError as error:
        raise FeatureError(f"{error}; `marquee features build` builds what is missing") from error
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise FeatureError(
            f"a feature partition is missing or damaged ({str(error).strip().splitlines()[0]}); delete the damaged "
            "file if there is one, then run `marquee features build`"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Feast warns of on-demand views being experimental at every step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
