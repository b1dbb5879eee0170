"""The project's own rows to try the checks on: what was served, or what could be learned from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from feature_repo.errors import EventDataError
from feature_repo.workspace import Workspace
from materialization.events.store import EventStore
from ranking_service import bundle as bundles
from ranking_service.contract import Contract
from ranking_service.models.registry import registry_of
from ranking_service.training.baseline.bins import FeatureBins, choose_bins, kinds
from ranking_service.training.baseline.file import read_baseline
from ranking_service.training.baseline.layout import Matrix
from ranking_service.training.baseline.learned import row_keys
from ranking_service.training.baseline.rows import RowKeys, hash_texts
from ranking_service.training.labelled import Split
from ranking_service.training.train import training_set
from skew_checks.distributions.part import Part
from skew_checks.distributions.trial import Rows
from skew_checks.replay.served import read_log
from skew_checks.result.parts import Window

Step = Callable[[str], None]


def served_rows(workspace: Workspace, window: Window, *, step: Step) -> Rows:
    """What the bundle with the most requests in the window served. Raises EventDataError where there are none."""
    log = read_log(workspace.serving_log, window)
    versions = log.versions()
    if not versions:
        raise EventDataError(
            f"{workspace.serving_log} has no complete request in the window; choose another, or `--source join`"
        )
    version = max(versions, key=lambda name: versions[name])
    step(f"reading {versions[version]:,} requests of bundle {version}")
    bundle = bundles.load(registry_of(workspace).folder(version))
    parts = [Part.of(segment.read()) for segment in log.of_bundle(version)]
    starts = np.cumsum([0, *(len(part.user_id) for part in parts)])
    keys = RowKeys(
        request=np.concatenate([part.request + start for part, start in zip(parts, starts, strict=False)]),
        user=np.concatenate([hash_texts(part.user_id) for part in parts]),
        item=np.concatenate([hash_texts(part.item_id) for part in parts]),
        seconds=np.concatenate([part.request_timestamp for part in parts]),
    )
    matrix = np.concatenate([part.model_input for part in parts])
    baseline = read_baseline(bundle.path)
    frozen = baseline.counts.bins[: len(bundle.contract.features)] if baseline else None
    return Rows(frozen or chosen_bins(matrix, bundle.contract), matrix, keys)


def joined_rows(workspace: Workspace, service: str, *, step: Step) -> Rows:
    """The exposures that a model of the feature service would be trained and tested on."""
    store = EventStore(workspace.events)
    step("joining features as they were known at request time")
    rows = training_set(workspace, service, label=store.source()["label"], split=Split.by_days(*store.span()))
    bins = chosen_bins(rows.matrix, rows.contract)
    keys = row_keys(rows.labelled.requests)
    return Rows(bins, rows.matrix, RowKeys(keys.request, keys.user, keys.item, keys.seconds))


def sampled(rows: Rows, users: int) -> Rows:
    """All rows of the users with the smallest hashes; all where there are no more than `users`."""
    known = np.unique(rows.keys.user)
    if len(known) <= users:
        return rows
    chosen = np.flatnonzero((rows.keys.user <= known[users - 1])[rows.keys.request])
    return Rows(rows.bins, rows.matrix[chosen], rows.keys.take(chosen))


def chosen_bins(matrix: Matrix, contract: Contract) -> tuple[FeatureBins, ...]:
    return tuple(
        choose_bins(matrix[:, place], feature, kind)
        for place, (feature, kind) in enumerate(zip(contract.features, kinds(contract), strict=True))
    )
