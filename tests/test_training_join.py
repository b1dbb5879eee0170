"""The training join on an applied world: every row once, in order, with what was known then."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FeatureStore
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import DAY, HOUR, INSTANT, MONDAY, VIEWS, exposure, item, user, watched, write_world

from feature_repo.columns import Ragged
from feature_repo.errors import MissingInputError
from feature_repo.frames import columns_from_table
from feature_repo.workspace import Workspace
from materialization.feast_store import apply_definitions, open_store
from materialization.feature_build.build import build_features
from materialization.feature_build.snapshot import partitions
from ranking_service.assemble import with_transforms
from ranking_service.compile_contract import compile_contract, compile_declared
from ranking_service.contract import Contract
from ranking_service.training_join import assemble_table, training_join

USERS = ("1", "12", "u|2", "o'hara", "ü 東", "nobody")
ITEMS = ("23", "3", "2|x", 'a "b"', "naïve", "nothing")
"""(1, 23) and (12, 3) read alike when glued together."""
LAST = MONDAY + 3 * DAY
EDGES = [
    LAST + offset + step for offset in (-DAY, 0 * DAY, DAY, 2 * DAY) for step in (-INSTANT, 0 * DAY, INSTANT)
]
"""Around snapshots, and around the moments at which rows of one and of two days' ttl expire."""


@dataclass(frozen=True)
class Applied:
    """A built and applied world, opened."""

    workspace: Workspace
    store: FeatureStore
    contract: Contract


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Applied:
    """The registry of the workspace knows its paths, whatever MARQUEE_HOME is here."""
    genres = ["drama", "ドラマ", "sci-fi, 'new'"]
    shown = [
        (watched if (u + i) % 2 else exposure)(
            USERS[u],
            ITEMS[i],
            MONDAY + day * DAY + (u * 5 + i) * HOUR / 2,
            surface=("home", "search")[(u + i + day) % 2],
            like=u == i,
        )
        for day in range(3)
        for u in range(5)
        for i in range(5)
        if (u + 2 * i + day) % 3
    ]
    workspace = write_world(
        tmp_path_factory.mktemp("applied"),
        shown,
        items=[
            item(
                name,
                genres=genres[: 1 + place % 3],
                author_id=f"w|{place % 2}",
                language="fr",
                release_timestamp=MONDAY - 9 * DAY,
            )
            for place, name in enumerate(ITEMS[:4])
        ],
        users=[
            user(name, language=("fr", "de")[place % 2], device="tv") for place, name in enumerate(USERS[:4])
        ],
    )
    build_features(workspace)
    apply_definitions(workspace)
    store = open_store(workspace)
    return Applied(workspace, store, compile_contract(store, "ranker_v1"))


def requests(rows: list[tuple[str, str, datetime]]) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array([row[0] for row in rows], pa.string()),
            "item_id": pa.array([row[1] for row in rows], pa.string()),
            "request_timestamp": pa.array([_seconds(row[2]) for row in rows], pa.float64()),
            "surface": pa.array(["home" for _ in rows], pa.string()),
            "device": pa.array(["tv" for _ in rows], pa.string()),
            "session_position": pa.array([0.0 for _ in rows], pa.float64()),
            "mark": pa.array(range(len(rows)), pa.int64()),
        }
    )


def _seconds(instant: datetime) -> float:
    return (instant - datetime.fromisoformat("1970-01-01T00:00:00+00:00")) / timedelta(seconds=1)


def stored(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    """Every built row of every view."""
    return {
        name: [
            row
            for path in partitions(workspace.feature_path(name)).values()
            for row in pq.read_table(path).to_pylist()
        ]
        for name in VIEWS
    }


def naive(row: tuple[str, str, datetime], rows: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """One request at a time: of each view the newest row that is not newer than the request and not expired."""
    values: dict[str, Any] = {}
    keys = {"user_id": row[0], "item_id": row[1]}
    for name, view in VIEWS.items():
        fits = [
            one
            for one in rows[name]
            if all(one[key] == keys[key] for key in view.join_keys)
            and row[2] - view.view.ttl <= one["event_timestamp"] <= row[2]
        ]
        newest = max(fits, key=lambda one: one["event_timestamp"], default={})
        values |= {field.name: newest.get(field.name) for field in view.fields}
    return values


@pytest.fixture(scope="module")
def built_rows(applied: Applied) -> dict[str, list[dict[str, Any]]]:
    return stored(applied.workspace)


one_request = st.tuples(
    st.sampled_from(USERS),
    st.sampled_from(ITEMS),
    st.sampled_from(EDGES) | st.integers(-24, 6 * 24).map(lambda hours: MONDAY + hours * HOUR),
)


@given(st.lists(one_request, min_size=1, max_size=30), st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_request_gets_what_a_naive_reading_gives_in_its_own_row(
    applied: Applied,
    built_rows: dict[str, list[dict[str, Any]]],
    rows: list[tuple[str, str, datetime]],
    data: st.DataObject,
) -> None:
    rows = [*rows, *data.draw(st.lists(st.sampled_from(rows), max_size=5))]
    joined = training_join(applied.store, applied.contract, requests(rows))
    assert joined.column("mark").to_pylist() == list(range(len(rows)))
    for row, found in zip(rows, joined.to_pylist(), strict=True):
        expected = naive(row, built_rows)
        assert {name: found[name] for name in expected} == expected, row


def test_ids_that_read_alike_when_glued_together_stay_apart(
    applied: Applied, built_rows: dict[str, list[dict[str, Any]]]
) -> None:
    rows = [("1", "23", LAST), ("12", "3", LAST)] * 20
    joined = training_join(applied.store, applied.contract, requests(rows)).to_pylist()
    for row, found in zip(rows, joined, strict=True):
        assert found["pair_exposures"] == naive(row, built_rows)["pair_exposures"]
    assert len({found["user_exposures"] for found in joined}) <= 2


@pytest.mark.parametrize(
    ("at", "known"),
    [
        (MONDAY + DAY - INSTANT, False),
        (MONDAY + DAY, True),
        (LAST + 2 * DAY, True),
        (LAST + 2 * DAY + INSTANT, False),
    ],
)
def test_a_row_counts_from_its_instant_to_the_end_of_its_ttl(
    applied: Applied, at: datetime, known: bool
) -> None:
    found = training_join(applied.store, applied.contract, requests([("1", "23", at)])).to_pylist()[0]
    assert (found["user_exposures"] is not None) == known


def test_requests_alike_in_everything_keep_their_rows(applied: Applied) -> None:
    joined = training_join(applied.store, applied.contract, requests([("1", "23", LAST)] * 50))
    assert joined.column("mark").to_pylist() == list(range(50))
    assert joined.column("user_exposures").null_count == 0


def test_no_request_gives_no_row(applied: Applied) -> None:
    joined = training_join(applied.store, applied.contract, requests([]))
    assert len(joined) == 0
    assert assemble_table(joined, applied.contract).shape == (0, len(applied.contract.features))


SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from feature_repo.workspace import Workspace
from materialization.feast_store import open_store
from ranking_service.compile_contract import compile_contract
from ranking_service.training_join import training_join
from test_training_join import every_pair, requests
store = open_store(Workspace(Path(sys.argv[1])))
joined = training_join(store, compile_contract(store, "ranker_v1"), requests(every_pair()))
print(json.dumps(joined.to_pylist()))
"""


def every_pair() -> list[tuple[str, str, datetime]]:
    return [(name, other, at) for name in USERS for other in ITEMS for at in (LAST, LAST + HOUR)]


def test_the_hash_seed_changes_nothing(applied: Applied) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    command = [sys.executable, "-W", "ignore", "-c", script, str(applied.workspace.home)]
    running = [
        subprocess.Popen(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, text=True
        )
        for seed in ("0", "1", "4242")
    ]
    answers = [process.communicate()[0] for process in running]
    here = training_join(applied.store, applied.contract, requests(every_pair())).to_pylist()
    for answer in answers:
        assert json.loads(answer.splitlines()[-1]) == json.loads(json.dumps(here))


def test_feasts_own_on_demand_columns_are_those_of_assemble(applied: Applied) -> None:
    """The whole service through Feast, and the same requests through the join and the shared step."""
    wanted = requests(every_pair())
    frame = wanted.drop_columns(["mark"]).to_pandas()
    frame["event_timestamp"] = pd.to_datetime(frame["request_timestamp"], unit="s", utc=True)
    frame["row"] = range(len(frame))
    service = applied.store.get_feature_service("ranker_v1")
    theirs = applied.store.get_historical_features(frame, service).to_df().sort_values("row")
    joined = training_join(applied.store, applied.contract, wanted)
    ours = with_transforms(columns_from_table(joined), applied.contract)
    for plan in applied.contract.transforms:
        for field in plan.fields:
            column = ours[field.name]
            assert not isinstance(column, Ragged)
            found = theirs[field.name].to_numpy()
            if field.is_text:
                assert found.tolist() == column.tolist()
            else:
                np.testing.assert_allclose(
                    found.astype(float), column, rtol=1e-5, atol=1e-6, err_msg=field.name
                )


def test_an_unknown_user_and_item_alone_go_through_feast_too(applied: Applied) -> None:
    """No row of the frame has a list, and Feast says nothing of types."""
    frame = pd.DataFrame(
        {
            "user_id": ["nobody"],
            "item_id": ["nothing"],
            "surface": ["home"],
            "device": ["tv"],
            "request_timestamp": [_seconds(LAST)],
            "session_position": [0.0],
            "event_timestamp": [LAST],
        }
    )
    found = applied.store.get_historical_features(
        frame, applied.store.get_feature_service("ranker_v1")
    ).to_df()
    assert found["affinity_genre_exposures"].tolist() == [0]
    assert math.isnan(found["affinity_genre_rate"][0])


def test_the_contract_of_the_declarations_is_that_of_the_registry(applied: Applied) -> None:
    declared = compile_declared(applied.contract.project, "ranker_v1")
    assert declared.to_json() == applied.contract.to_json()
    assert len(declared.features) >= 150


def test_who_falls_silent_reads_as_silent_and_not_as_an_older_snapshot_says(tmp_path: Path) -> None:
    """Rows end with their windows: no request may read a count whose events have left the window."""
    noon = 12 * HOUR
    others = [exposure("12", "3", MONDAY + day * DAY + noon) for day in range(13)]
    workspace = write_world(tmp_path, [watched("1", "23", MONDAY + noon), *others])
    build_features(workspace)
    rows = stored(workspace)
    for day in range(1, 13):
        row = naive(("1", "23", MONDAY + day * DAY + HOUR), rows)
        expected = 1 if day <= 7 else 0
        for name in ("pair_exposures", "user_exposures_7d", "item_exposures_7d", "user_active_days_7d"):
            assert (row[name] or 0) == expected, (day, name)
        assert (row["pair_last_seen_at"] is not None) == (day <= 7)
        assert bool(row["user_surface_names"]) == (day <= 7)


def test_a_registry_that_reads_another_workspace_is_refused(applied: Applied, tmp_path: Path) -> None:
    """A copied workspace would read the old one's features without a word."""
    shutil.copy(applied.workspace.registry, tmp_path / "registry.db")
    with pytest.raises(MissingInputError, match=r"which is not in .*features; run `marquee features apply`"):
        open_store(Workspace(tmp_path))
