"""Every view's query, run over no events at all: does it answer, and with the view's columns?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime

import duckdb
import pyarrow as pa

from feature_repo.errors import FeatureError
from materialization.declared import CREATED_TIMESTAMP, EVENT_TIMESTAMP, BatchView
from materialization.feature_build.snapshot import Limits, connect, open_knowledge
from materialization.feature_check.declarations import Declarations
from materialization.feature_check.problem import Problem

SOME_INSTANT = datetime(2026, 1, 1, tzinfo=UTC)
"""Any will do: there are no events."""
OF_THE_MOMENT = re.compile(
    r"\b((?:now|today|random|uuid|gen_random_uuid|get_current_timestamp|transaction_timestamp)\s*\("
    r"|current_date\b|current_time\b|current_timestamp\b|localtime\b|localtimestamp\b)",
    re.IGNORECASE,
)


def queries_fit(declared: Declarations) -> Iterator[Problem]:
    """Queries that fail, and columns that are missing, too many, twice, or of an impossible type."""
    with connect(Limits()) as connection:
        try:
            open_knowledge(connection, [], SOME_INSTANT, prelude=declared.sql / "_prelude.sql")
        except (FeatureError, OSError) as error:
            yield Problem("sql/_prelude.sql", str(error), "mend it; no view's query can run without it")
            return
        for view in declared.keyed_views:
            if view.sql_path.is_file():
                yield from _query_problems(connection, view)


def _query_problems(connection: duckdb.DuckDBPyConnection, view: BatchView) -> Iterator[Problem]:
    where = f"sql/{view.sql_path.name}"
    try:
        relation = connection.sql(view.sql())
        found = None if relation is None else relation.to_arrow_table().schema
    except duckdb.Error as error:
        yield Problem(where, f"fails: {error}", "mend the query")
        return
    if found is None:
        yield Problem(where, "is no query: it returns no columns", "end it with a SELECT")
        return
    yield from (Problem(where, what, mend) for what, mend in _misfits(view, found))


def _misfits(view: BatchView, found: pa.Schema) -> Iterator[tuple[str, str]]:
    stamps = {EVENT_TIMESTAMP, CREATED_TIMESTAMP}
    expected = {field.name: field.type for field in view.schema if field.name not in stamps}
    for name, times in Counter(found.names).items():
        if name not in expected:
            yield f"has {name}, which view {view.name} does not declare", "declare it or take it out"
        elif times > 1:
            yield f"has {name} {times} times", "keep one"
        elif not _castable(found.field(name).type, expected[name]):
            yield (
                f"{name} is {found.field(name).type}, view {view.name} declares {expected[name]}",
                "cast it in the query or declare another type",
            )
    for name in sorted(expected.keys() - set(found.names)):
        yield f"lacks {name}, which view {view.name} declares", "select it or remove the field"


def _castable(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether the build's cast succeeds for every value; of text as a number nobody knows."""
    if pa.types.is_list(wanted) and pa.types.is_list(found):
        return _castable(found.value_type, wanted.value_type)
    if pa.types.is_string(found) and not pa.types.is_string(wanted):
        return False
    try:
        pa.array([], found).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def queries_timeless(declared: Declarations) -> Iterator[Problem]:
    """Queries that ask the clock or chance: rebuilt tomorrow, yesterday's snapshot would differ."""
    for path in sorted(declared.sql.glob("*.sql")):
        code = re.sub(r"--[^\n]*|'(?:[^']|'')*'", "", path.read_text())
        for name in sorted({match.group(1).rstrip("( \n") for match in OF_THE_MOMENT.finditer(code)}):
            yield Problem(f"sql/{path.name}", f"uses {name}, which changes by itself", "use as_of()")
