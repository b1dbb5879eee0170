"""Judge a bundle on its test days: join, score, compare with the baselines, write the figures down."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from feature_repo.errors import TrainingDataError
from feature_repo.workspace import Workspace
from materialization.events.store import EventStore
from materialization.feast_store import open_store
from materialization.progress import Report, silent
from ranking_service.bundle import Bundle
from ranking_service.evaluation.evaluate import SMALLEST_LIST, Figures, TestRows, calibration_report, evaluate
from ranking_service.evaluation.metrics import Floats
from ranking_service.evaluation.reliability import reliability_figure
from ranking_service.training.labelled import Labelled, Split, labelled_exposures
from ranking_service.training_join import assemble_table, training_join
from ranking_service.transform_code import code_problems

RATES = {
    "long_view": "long_view_rate",
    "completed": "completion_rate",
    "click": "click_rate",
    "like": "like_rate",
}
"""Label to the smoothed rate that predicts it best alone; item_<rate> and user_<rate> are features."""
POPULARITY = "item_exposures_7d"


@dataclass(frozen=True)
class Evaluation:
    """A bundle's figures on its test days."""

    version: str
    label: str
    features: int
    rows: int
    users: int
    lists: int
    """(user, UTC day) lists of 5 or more rows with both labels."""
    start: str
    end: str
    report: Figures
    calibration: dict[str, Any] | None
    """None for objectives whose score is no probability."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return dataclasses.asdict(self)


def judge(
    workspace: Workspace,
    bundle: Bundle,
    *,
    resamples: int = 200,
    seed: int = 0,
    progress: Report = silent,
) -> Evaluation:
    """Score the exposures of the bundle's test days with features as known at request time.

    Raises BundleError for a bundle that other transform code was trained with.
    """
    for problem in code_problems(bundle.version, bundle.contract):
        raise problem
    label = bundle.manifest["label"]
    split = Split(**{name: datetime.fromisoformat(at) for name, at in bundle.manifest["split"].items()})
    labelled = labelled_exposures(
        workspace, bundle.contract, label=label, start=split.test_from, end=split.end
    )
    joined = training_join(open_store(workspace), bundle.contract, labelled.requests)
    score = bundle.booster.inplace_predict(assemble_table(joined, bundle.contract)).astype(np.float64)
    scores = {"model": score, **_baselines(joined, label, seed=seed)}
    scores |= _truth(workspace, labelled, label)
    rows = TestRows(labelled.label, _dense(labelled.user_codes()), labelled.user_day_codes())
    is_probability = bundle.manifest["recipe"]["objective"] == "binary:logistic"
    return Evaluation(
        version=bundle.version,
        label=label,
        features=len(bundle.contract.features),
        rows=len(labelled.label),
        users=int(rows.user.max()) + 1,
        lists=_judged_lists(rows),
        start=split.test_from.isoformat(),
        end=split.end.isoformat(),
        report=evaluate(rows, scores, resamples=resamples, seed=seed, progress=progress),
        calibration=calibration_report(labelled.label, score) if is_probability else None,
    )


def write_evaluation(workspace: Workspace, evaluation: Evaluation) -> list[Path]:
    """Leave the figures as JSON, and the reliability diagram as SVG, in the reports folder."""
    workspace.reports.mkdir(parents=True, exist_ok=True)
    figures = workspace.reports / f"evaluation-{evaluation.version}.json"
    figures.write_text(json.dumps(evaluation.to_json(), indent=1))
    if evaluation.calibration is None:
        return [figures]
    diagram = workspace.reports / f"calibration-{evaluation.version}.svg"
    diagram.write_text(reliability_figure(evaluation.calibration["bins"], label=evaluation.label))
    return [figures, diagram]


def _baselines(joined: pa.Table, label: str, *, seed: int) -> dict[str, Floats]:
    """Scores that need no model; NaN where the feature is unknown."""
    names = {
        "item popularity": POPULARITY,
        "item rate": f"item_{RATES[label]}",
        "user rate": f"user_{RATES[label]}",
    }
    found = {name: column for name, column in names.items() if column in joined.column_names}
    columns = {
        name: joined.column(column).to_numpy(zero_copy_only=False).astype(np.float64)
        for name, column in found.items()
    }
    return {"random": np.random.default_rng(seed).random(len(joined)), **columns}


def _truth(workspace: Workspace, labelled: Labelled, label: str) -> dict[str, Floats]:
    """The simulator's own probabilities of this label, in row order; nothing for real events.

    The best possible ranking knows the position an exposure had; the best a ranker can learn does not.
    """
    truth = EventStore(workspace.events).read("truth")
    truth = truth.filter(pc.equal(truth.column("label"), label))
    if not len(truth):
        return {}
    place = pc.index_in(labelled.requests.column("exposure_id"), truth.column("exposure_id"))
    if place.null_count:
        raise TrainingDataError(
            f"the simulator's truth lacks {place.null_count} exposures; simulate the events again"
        )
    named = {"best, position known": "probability", "best possible": "appeal"}
    return {name: truth.column(column).take(place).to_numpy() for name, column in named.items()}


def _dense(codes: Any) -> Any:
    return np.unique(codes, return_inverse=True)[1]


def _judged_lists(rows: TestRows) -> int:
    sizes = np.bincount(rows.user_day)
    hits = np.bincount(rows.user_day, weights=rows.label)
    return int(((sizes >= SMALLEST_LIST) & (hits > 0) & (hits < sizes)).sum())
