"""Another candidate's or another user's row: what was served is, as a whole, the row of another key."""

from __future__ import annotations

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.workspace import Workspace
from materialization.feast_store import reading_features
from ranking_service.contract import ViewPlan
from ranking_service.serving_log.tables import EVENT_TIME_PREFIX
from skew_checks.causes.case import Case, Seen, share_told
from skew_checks.causes.evidence import Evidence
from skew_checks.judging.compare import Mask, differ
from skew_checks.replay.event_times import source_sql

MOST_LOOKED_AT = 20_000
LEAST_COLUMNS = 3
"""A row of fewer numbers may equal another by chance."""


def other_row(case: Case) -> Seen | None:
    """The whole row served is that of another key of the same event time; or there was none, in a request in which
    other rows were mixed up.
    """
    if case.subject.is_model_column:
        return None
    evidence = case.evidence
    found = of_others(evidence, case.subject.view)[case.rows]
    mixed = np.asarray(evidence.served["served_id"], object)
    absent = np.isnan(case.own) & ~np.isnan(case.newest)
    if absent.any():
        found = found | (absent & np.isin(case.served_ids.astype(str), mixed[mixed_up(evidence)].astype(str)))
    if not found.any():
        return None
    return Seen(found, (f"the row served is that of another key in {share_told(found)} mismatches",))


def row_of_the_matrix(case: Case) -> Seen | None:
    """Stored values are right, and the model was given them in another candidate's place."""
    if not case.subject.is_model_column:
        return None
    found = case.evidence.witnesses.is_of_another[case.rows]
    if not found.any():
        return None
    told = f"the model's row is that of another candidate of the request in {share_told(found)} mismatches"
    return Seen(found, (told,))


def mixed_up(evidence: Evidence) -> Mask:
    """bool [witnesses]: where the row of any view is another key's."""
    return evidence.kept(
        "mixed up",
        lambda: np.logical_or.reduce([of_others(evidence, view.name) for view in evidence.judge.views]),
    )


def of_others(evidence: Evidence, view: str) -> Mask:
    """bool [witnesses]: where the view's row is not that of its own key, and is that of another one."""
    return evidence.kept(f"others of {view}", lambda: _searched(evidence, view))


def _searched(evidence: Evidence, view: str) -> Mask:
    plan, rows = evidence.judge.contract.view(view), evidence.rows(view)
    found = np.zeros(len(evidence.at), bool)
    subjects = [one for one in evidence.judge.subjects if not one.is_model_column and one.view == view]
    is_other = np.zeros(len(found), bool)
    for subject in subjects:
        own = evidence.of_own_rows(view, subject.feature)
        is_other |= differ(evidence.served[subject.feature], own, subject.relative)
    asked = np.flatnonzero(is_other & ~rows.unused)[:MOST_LOOKED_AT]
    if len(asked) and len(subjects) >= LEAST_COLUMNS:
        names = [subject.feature for subject in subjects]
        found[
            asked[_places(evidence.judge.workspace, plan, evidence.witnesses.served.take(asked), names)]
        ] = True
    return found


def _places(
    workspace: Workspace, view: ViewPlan, served: pa.Table, names: list[str]
) -> npt.NDArray[np.int64]:
    """Rows of `served` whose values are, all of them, those of another key at the same event time."""
    time = EVENT_TIME_PREFIX + view.name
    wanted = served.select([*view.join_keys, *names, time]).append_column(
        "place", pa.array(np.arange(len(served)))
    )
    lists = {field.name for field in view.fields if field.is_list}
    same = " AND ".join(
        f'len(coalesce(wanted."{name}", [])) = len(coalesce(built."{name}", []))'
        f' AND (wanted."{name}" IS NOT DISTINCT FROM built."{name}" OR len(coalesce(wanted."{name}", [])) = 0)'
        if name in lists
        else f'wanted."{name}" IS NOT DISTINCT FROM built."{name}"'
        for name in sorted(names, key=lists.__contains__)
    )
    keys = " AND ".join(f'wanted."{key}" = built."{key}"' for key in view.join_keys)
    sql = f"""
        SELECT DISTINCT place FROM wanted JOIN {source_sql(workspace, view)} AS built
        ON epoch_us(built.event_timestamp) = epoch_us(wanted."{time}") AND {same}
        WHERE NOT ({keys}) ORDER BY place"""
    with reading_features(), duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        connection.register("wanted", wanted)
        return np.asarray(connection.sql(sql).to_arrow_table()["place"].to_numpy(), np.int64)
