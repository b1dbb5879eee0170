"""Evidently's data drift preset on parquet files; run by an interpreter that has Evidently and nothing of ours.

Arguments: the reference, then the files to judge. Names that begin with `text__` are categories, all others numbers.
Prints a JSON line for each file: its path, and the columns that the preset calls drifted.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from typing import Any

TEXT_PREFIX = "text__"
METRIC = re.compile(
    r"ValueDrift\(column=(?P<column>.*),method=(?P<method>.*),threshold=(?P<threshold>[\d.]+)\)"
)


def main(reference: str, files: list[str]) -> None:
    """Every file against the reference."""
    import pandas

    healthy = pandas.read_parquet(reference)
    for path in files:
        served = pandas.read_parquet(path)
        line = {"path": path, "columns": [*emptied(served, healthy), *drifted(compared(served, healthy))]}
        print(json.dumps(line), flush=True)


def compared(served: Any, healthy: Any) -> dict[str, Any]:
    """The preset's own result; columns without a value on either side left out, as Evidently refuses them."""
    from evidently import DataDefinition, Dataset, Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    kept = [name for name in healthy.columns if healthy[name].notna().any() and served[name].notna().any()]
    definition = DataDefinition(
        numerical_columns=[name for name in kept if not name.startswith(TEXT_PREFIX)],
        categorical_columns=[name for name in kept if name.startswith(TEXT_PREFIX)],
    )
    sides = (Dataset.from_pandas(side[kept], data_definition=definition) for side in (served, healthy))
    result: dict[str, Any] = Report([DataDriftPreset()]).run(*sides).dict()
    return result


def emptied(served: Any, healthy: Any) -> list[str]:
    """Columns that lost all their values; whoever runs Evidently on them hears of it, as an error."""
    gone = healthy.notna().any() & ~served.notna().any()
    return [name.removeprefix(TEXT_PREFIX) for name in healthy.columns[gone]]


def drifted(found: dict[str, Any]) -> list[str]:
    """Columns past their threshold: above it for a distance, below it for a p-value."""
    names = []
    for metric in found["metrics"]:
        match = METRIC.fullmatch(metric["metric_name"])
        if match is None:
            continue
        value, threshold = float(metric["value"]), float(match["threshold"])
        is_p_value = "p_value" in match["method"]
        if (value < threshold) if is_p_value else (value >= threshold):
            names.append(match["column"].removeprefix(TEXT_PREFIX))
    return names


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], sys.argv[2:])
