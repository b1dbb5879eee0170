"""Keys that are asked for and are nowhere, while another spelling of them has rows."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa

from materialization.feast_store import reading_features
from ranking_service.contract import ViewPlan
from skew_checks.causes.findings import Found, instant
from skew_checks.causes.headlines import headline
from skew_checks.judging.accumulate import Judging
from skew_checks.judging.rates import rate_of, status_of
from skew_checks.judging.unknown_keys import UnknownKeys
from skew_checks.replay.event_times import source_sql
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Share, Unit
from skew_checks.result.report import Defect

CANONICAL = (
    r"lower(trim(regexp_replace(regexp_replace({0}, '(^|[^0-9.])0+([0-9])', '\1\2', 'g'), '\.0$', '')))"
)
"""Without zeros in front of numbers, a decimal part of nothing, blanks around, and capitals."""


def key_spellings(judging: Judging) -> Iterator[Found]:
    """For users and for items."""
    for key, unit in (("user_id", Unit.REQUESTS), ("item_id", Unit.ITEM_ROWS)):
        views = [view for view in judging.judge.views if view.join_keys == (key,)]
        unknown = judging.unknown.get(key)
        if not views or unknown is None or not unknown.counts:
            continue
        spelled = _spelled(judging, views, unknown)
        if spelled:
            yield _found(judging, views[0], key, unit, unknown, spelled)


def _spelled(judging: Judging, views: list[ViewPlan], unknown: UnknownKeys) -> dict[str, str]:
    """The spelling that has rows, by the one asked for."""
    key = views[0].join_keys[0]
    wanted = pa.table({"asked": pa.array(list(unknown.counts), pa.string())})
    sources = (source_sql(judging.judge.workspace, view) for view in views)
    tables = [f'SELECT "{key}" AS there FROM {source}' for source in sources]
    sql = f"""
        WITH built AS ({" UNION ".join(tables)})
        SELECT asked, min(there) FROM wanted JOIN built ON {CANONICAL.format("asked")} = {CANONICAL.format("there")}
        WHERE asked NOT IN (SELECT there FROM built) GROUP BY asked ORDER BY asked"""
    with reading_features(), duckdb.connect() as connection:
        connection.register("wanted", wanted)
        return dict(connection.sql(sql).fetchall())


def _found(
    judging: Judging, view: ViewPlan, key: str, unit: Unit, unknown: UnknownKeys, spelled: dict[str, str]
) -> Found:
    requests = sum(unknown.counts[asked] for asked in spelled)
    bad = requests if unit is Unit.REQUESTS else len(spelled)
    units = judging.requests if unit is Unit.REQUESTS else len(judging.items)
    rate = rate_of(bad, units, budget=judging.thresholds.budget)
    asked, there = next(iter(spelled.items()))
    told = f"{len(spelled):,} keys have no row, and other spellings of them do: {there!r} for {asked!r}"
    request = unknown.example[asked]
    at = instant(unknown.first)
    assert at is not None, "a key was asked for at some time"
    defect = Defect(
        status=status_of(rate),
        cause=Cause.KEY_MISMATCH,
        headline=headline(Cause.KEY_MISMATCH, view.name, (key,)),
        view=view.name,
        features=(key,),
        bundle=judging.judge.bundle.version,
        unit=unit,
        rate=rate,
        causes=(Share(Cause.KEY_MISMATCH.value, bad, bad),),
        since=at,
        last=instant(unknown.last),
        command=f"marquee skew check --request {request}",
        facts=(told,),
    )
    return Found(defect, touched={}, requests=requests)
