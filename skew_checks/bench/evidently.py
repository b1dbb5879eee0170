"""Evidently itself, in another interpreter, on parquet files: none of its dependencies come near ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from feature_repo.errors import MissingInputError
from ranking_service.contract import Contract
from skew_checks.bench import evidently_process
from skew_checks.bench.others import Matrix

MOST_ROWS = 5_000
"""Of each side: Evidently's time grows with the rows, and it draws a sample of its own for large data."""


@dataclass(frozen=True)
class Answer:
    """What Evidently says of one file."""

    name: str
    version: str
    columns: tuple[str, ...]


def write_matrix(path: Path, matrix: Matrix, contract: Contract) -> None:
    """At most MOST_ROWS rows, evenly taken; codes of categories as text, so that they count as such."""
    kept = np.linspace(0, len(matrix) - 1, min(MOST_ROWS, len(matrix))).astype(np.intp)
    columns: dict[str, pa.Array] = {}
    for place, feature in enumerate(contract.features):
        values = matrix[kept, place]
        if feature.field.is_text:
            texts = np.where(np.isnan(values), "missing", values.astype(str))
            columns[evidently_process.TEXT_PREFIX + feature.name] = pa.array(texts.tolist())
        else:
            columns[feature.name] = pa.array(values, from_pandas=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def ask(python: Path, reference: Path, files: Sequence[Path]) -> Iterator[Answer]:
    """Every file, as soon as it is judged. Raises MissingInputError where that interpreter has no Evidently."""
    command = [str(python), "-W", "ignore", str(Path(evidently_process.__file__)), str(reference)]
    process = subprocess.Popen(
        [*command, *map(str, files)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    for line in process.stdout:
        said = json.loads(line)
        yield Answer(Path(said["path"]).stem, said["version"], tuple(said["columns"]))
    problem = process.stderr.read()
    if process.wait():
        raise MissingInputError(
            f"{python} cannot run Evidently: {problem.strip().splitlines()[-1:]}; install it there "
            "(pip install evidently), or leave out --evidently"
        )
