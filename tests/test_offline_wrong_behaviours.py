"""Behaviours of Feast's stock stores that are wrong for ranking, and that this offline store does not share.

The numbers are those of the list in the design document; the others belong to the online store and the engine.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow as pa
from feast import FeatureStore
from offline_world import ITEM, USER, a_view, apply, at, open_store, write_rows

NS = pa.timestamp("ns", tz="UTC")


def pair_store(folder: Path) -> FeatureStore:
    path = write_rows(
        folder / "pairs.parquet",
        [
            {
                "user_id": user,
                "item_id": item,
                "event_timestamp": at(1),
                "created_timestamp": at(1),
                "value": value,
            }
            for user, item, value in ((1, 23, 123), (12, 3, 312))
        ],
    )
    store = open_store(folder / "repo")
    apply(store, USER, ITEM, a_view("pairs", path, entities=[USER, ITEM]))
    return store


def test_1_keys_that_look_alike_when_joined_up_stay_apart(tmp_path: Path) -> None:
    """Up to 0.66 stock Feast concatenated (1, 23) and (12, 3) into one row id, depending on the hash seed."""
    asked = pd.DataFrame({"user_id": [12, 1], "item_id": [3, 23], "event_timestamp": [at(5)] * 2})
    answer = pair_store(tmp_path).get_historical_features(asked, ["pairs:value"]).to_df()
    assert answer.value.tolist() == [312, 123]


def test_1_request_rows_that_share_keys_and_time_all_come_back(tmp_path: Path) -> None:
    """The stock file store (dask) drops all but one."""
    asked = pd.DataFrame(
        {"user_id": [1] * 3, "item_id": [23] * 3, "event_timestamp": [at(5)] * 3, "label": [1, 0, 1]}
    )
    answer = pair_store(tmp_path).get_historical_features(asked, ["pairs:value"]).to_df()
    assert answer[["label", "value"]].values.tolist() == [[1, 123], [0, 123], [1, 123]]


def test_11_nanoseconds_with_a_time_zone_materialize(tmp_path: Path) -> None:
    """With DuckDB 2 stock Feast fails on such parquet files; here pulls give microseconds."""
    rows = [{"user_id": 1, "event_timestamp": at(1), "created_timestamp": at(2), "value": 7}]
    path = write_rows(tmp_path / "fine.parquet", rows, event_timestamp=NS, created_timestamp=NS)
    store = open_store(tmp_path / "repo")
    apply(store, USER, a_view("fine", path))
    store.materialize(at(0), at(9))
    assert store.get_online_features(["fine:value"], [{"user_id": 1}]).to_dict()["value"] == [7]


def test_rows_that_became_known_after_the_label_do_not_leak_into_it(tmp_path: Path) -> None:
    """Stock Feast filters by created time only when each call asks for it."""
    rows = [
        {"user_id": 1, "event_timestamp": at(event), "created_timestamp": at(created), "value": value}
        for event, created, value in ((1, 1, 1), (3, 8, 3), (2, 4, 2))
    ]
    store = open_store(tmp_path / "repo")
    apply(store, USER, a_view("late", write_rows(tmp_path / "late.parquet", rows)))
    asked = pd.DataFrame({"user_id": [1] * 4, "event_timestamp": [at(s) for s in (3, 4, 7, 8)]})
    answer = store.get_historical_features(asked, ["late:value"]).to_df()
    assert answer.value.tolist() == [1, 2, 2, 3]
