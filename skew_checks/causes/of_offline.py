"""The offline side is the wrong one: it knows the future, or was rewritten after it was served."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from feature_repo.columns import take
from materialization.feature_build.snapshot import partition_path
from skew_checks.causes.case import Case, Seen, share_told
from skew_checks.causes.evidence import Evidence
from skew_checks.judging.compare import Mask, differ
from skew_checks.replay.event_times import next_times, row_times, rows_of_event

CLOSE_SECONDS, MOMENT = 1e-3, 1e-5


def offline_leakage(case: Case) -> Seen | None:
    """The offline rows run ahead: as a whole, one is the key's next row, or what was served is the one before."""
    if case.subject.is_model_column:
        return None
    evidence, view = case.evidence, case.subject.view
    found = (
        evidence.kept(f"leaks of {view}", lambda: _runs_ahead(evidence, view))[case.rows] & case.is_wrong_row
    )
    if not found.any():
        return None
    told = f"the offline row has the values of the key's next row, known only later, in {share_told(found)} mismatches"
    return Seen(found, (told,))


def _runs_ahead(evidence: Evidence, view: str) -> Mask:
    """bool [witnesses]: the offline row of the served row's event time equals the one after it, and is not the one
    before it in what was served otherwise (a feature that never changes tells nothing); or, where neighbours run
    ahead too, the row before it equals the one served.
    """
    judge, rows = evidence.judge, evidence.rows(view)
    plan, workspace = judge.contract.view(view), judge.workspace
    asked = np.flatnonzero(rows.has_stored & ~rows.unused)
    keys, own = evidence.witnesses.offline.take(asked), rows.own[asked]
    after = rows_of_event(workspace, plan, keys, next_times(workspace, plan, keys, own))
    before = rows_of_event(workspace, plan, keys, row_times(workspace, plan, keys, own - MOMENT).event)
    is_next, is_before = (
        np.isin(np.arange(len(asked)), after.places),
        np.isin(np.arange(len(asked)), before.places),
    )
    changed = np.zeros(len(asked), bool)
    for subject in judge.subjects:
        if subject.is_model_column or subject.view != view:
            continue
        name, relative = subject.feature, subject.relative
        stored, served = take(evidence.of_own_rows(view, name), asked), take(evidence.served[name], asked)
        is_next[after.places] &= ~differ(take(stored, after.places), after.columns[name], relative)
        is_before[before.places] &= ~differ(take(served, before.places), before.columns[name], relative)
        moved = np.ones(len(asked), bool)
        moved[before.places] = differ(take(stored, before.places), before.columns[name], relative)
        changed |= moved & differ(served, stored, relative)
    result = np.zeros(len(evidence.at), bool)
    result[asked] = changed & (is_next | is_before)
    return result


def rewritten_since(case: Case) -> Seen | None:
    """The row served has the event time of the offline row, whose file was written after the last materialization."""
    if case.subject.is_model_column:
        return None
    same = np.abs(case.own - case.newest) <= CLOSE_SECONDS
    same &= case.is_wrong_row & ~case.view_rows.unused[case.rows]
    applied = case.evidence.judge.facts[case.subject.view].applied_at
    times = case.own[same]
    if not len(times) or np.isnan(applied):
        return None
    folder = case.evidence.judge.workspace.feature_path(case.subject.view)
    written = {at: _written(folder, at) for at in np.unique(times).tolist()}
    found = same & np.array([written.get(at, -np.inf) > applied for at in case.own.tolist()])
    if not found.any():
        return None
    told = (
        "the same row offline, with other values, was written after the view's last materialization in "
        f"{share_told(found)} mismatches: rebuilt or corrected since"
    )
    return Seen(found, (told,))


def _written(folder: Path, at: float) -> float:
    """Unix seconds of the partition's file; -inf where there is none of that instant."""
    path = partition_path(folder, datetime.fromtimestamp(at, UTC))
    return path.stat().st_mtime if path.is_file() else -np.inf
