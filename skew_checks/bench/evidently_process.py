"""Evidently's data drift preset on parquet files; run by an interpreter that has Evidently and nothing of ours.

Arguments: the reference, then the files to judge. Names that begin with `text__` are categories, all others numbers.
Prints a JSON line for each file: its path, Evidently's version, and the columns that its preset calls drifted.
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
    import evidently  # type: ignore[import-not-found]
    import pandas
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    def dataset(path: str) -> Any:
        frame = pandas.read_parquet(path)
        texts = [name for name in frame.columns if name.startswith(TEXT_PREFIX)]
        numbers = [name for name in frame.columns if not name.startswith(TEXT_PREFIX)]
        definition = DataDefinition(numerical_columns=numbers, categorical_columns=texts)
        return Dataset.from_pandas(frame, data_definition=definition)

    healthy = dataset(reference)
    for path in files:
        found = Report([DataDriftPreset()]).run(dataset(path), healthy).dict()
        line = {"path": path, "version": evidently.__version__, "columns": drifted(found)}
        print(json.dumps(line), flush=True)


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
