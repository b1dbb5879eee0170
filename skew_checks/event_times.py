"""Which row of a view the training join took: its event time, straight from the built partitions."""

from __future__ import annotations

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from feature_repo.workspace import Workspace
from ranking_service.contract import ViewPlan


def offline_event_times(workspace: Workspace, view: ViewPlan, rows: pa.Table) -> npt.NDArray[np.float64]:
    """Event time of the view's newest row at each row's `request_timestamp`: Unix seconds, float64 [rows].

    NaN where there is none, or none within the view's ttl. For some thousand rows: it reads all of the view's
    keys.
    """
    wanted = rows.select([*view.join_keys, "request_timestamp"])
    wanted = wanted.append_column("place", pa.array(np.arange(len(rows))))
    keys = " AND ".join(f'built."{key}" = wanted."{key}"' for key in view.join_keys)
    pattern = str(workspace.feature_path(view.name) / "*" / "*.parquet").replace("'", "''")
    with duckdb.connect() as connection:
        connection.register("wanted", wanted)
        found = connection.sql(
            f"""SELECT place, max(epoch_us(built.event_timestamp)) / 1e6 AS seconds
            FROM wanted LEFT JOIN read_parquet('{pattern}', hive_partitioning = false) AS built
            ON {keys} AND epoch_us(built.event_timestamp) <= round(wanted.request_timestamp * 1e6)
            GROUP BY place ORDER BY place"""
        ).to_arrow_table()
    seconds = np.asarray(found["seconds"].to_numpy(), np.float64)
    age = rows["request_timestamp"].to_numpy() - seconds
    return np.where((age > view.ttl_seconds) & (view.ttl_seconds > 0), np.nan, seconds)
