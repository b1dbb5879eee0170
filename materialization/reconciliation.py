"""Reconciliation on this workspace."""

from __future__ import annotations

import warnings

from redis.exceptions import RedisError

from feature_repo.errors import OnlineStoreError
from feature_repo.workspace import REDIS_VARIABLE, Workspace
from materialization.data_plane.reconcile import Scope, ViewReport, reconcile
from materialization.feast_store import reading_features, writable_store
from materialization.progress import Report, silent


def reconcile_views(workspace: Workspace, scope: Scope, *, report: Report = silent) -> list[ViewReport]:
    """Compare Redis with the snapshots, and repair it; see `materialization.data_plane.reconcile`.

    Raises SettingError without a Redis or with another online store, FeatureError for a damaged partition,
    OnlineStoreError where Redis does not answer.
    """
    store = writable_store(workspace)
    try:
        with reading_features(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return reconcile(store, scope, report=report)
    except RedisError as error:
        raise OnlineStoreError(f"Redis does not answer ({error}); is {REDIS_VARIABLE} right?") from error
