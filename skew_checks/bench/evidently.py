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

MOST_ROWS = 20_000
"""Of each side; more than a night has here."""


@dataclass(frozen=True)
class Answer:
    """What Evidently says of one file."""

    name: str
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


def version_in(python: Path) -> str:
    """Of the Evidently that interpreter has. Raises MissingInputError where it has none."""
    command = [*_isolated(python), "-c", "import evidently; print(evidently.__version__)"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    if tried.returncode:
        raise MissingInputError(
            f"{python} cannot import Evidently ({tried.stderr.strip().splitlines()[-1]}); install it there "
            "(pip install evidently pyarrow), or leave out --evidently"
        )
    return tried.stdout.strip()


def ask(python: Path, reference: Path, files: Sequence[Path]) -> Iterator[Answer]:
    """Every file, as soon as it is judged. Raises MissingInputError where Evidently fails."""
    program = Path(evidently_process.__file__)
    process = subprocess.Popen(
        [*_isolated(python), str(program), str(reference), *map(str, files)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        said = json.loads(line)
        yield Answer(Path(said["path"]).stem, tuple(said["columns"]))
    if process.wait():
        raise MissingInputError(
            f"Evidently failed in {python}; try {program} with it by hand, or leave out --evidently"
        )


def _isolated(python: Path) -> list[str]:
    """It must find nothing of ours: this file bears Evidently's name."""
    return [str(python), "-I", "-W", "ignore"]
