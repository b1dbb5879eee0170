"""Evidently's drift tests on parquet files; run by an interpreter that has Evidently and nothing of ours.

Arguments: the reference, then the files to judge. Names that begin with `text__` are categories, all others numbers.
Each column gets the test and the threshold that Evidently itself chooses for it, as in its preset DataDriftPreset,
without the plots, which take the preset some twenty times as long. Prints a JSON line for each file: its path, and
the columns that drifted.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from typing import Any

TEXT_PREFIX = "text__"


def main(reference: str, files: list[str]) -> None:
    """Every file against the reference."""
    import pandas

    healthy = pandas.read_parquet(reference)
    for path in files:
        columns = [name.removeprefix(TEXT_PREFIX) for name in drifted(pandas.read_parquet(path), healthy)]
        print(json.dumps({"path": path, "columns": columns}), flush=True)


def drifted(served: Any, healthy: Any) -> Iterator[str]:
    """Columns that drifted, and those that lost all their values: Evidently refuses these, so whoever runs it hears."""
    from evidently.legacy.calculations.stattests import get_stattest  # type: ignore[import-not-found]
    from evidently.legacy.core import ColumnType  # type: ignore[import-not-found]

    for name in healthy.columns:
        reference, current = present(healthy[name]), present(served[name])
        if reference.empty or current.empty:
            if not reference.empty:
                yield name
            continue
        kind = ColumnType.Categorical if name.startswith(TEXT_PREFIX) else ColumnType.Numerical
        test = get_stattest(reference, current, kind, None)
        if test(reference, current, kind, None).drifted:
            yield name


def present(column: Any) -> Any:
    """Without missing values and infinities, as Evidently itself does it."""
    infinity = float("inf")
    return column.replace([-infinity, infinity], float("nan")).dropna()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1], sys.argv[2:])
