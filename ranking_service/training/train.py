"""`marquee model train`: label, join, assemble, fit, evaluate, publish."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xgboost

from feature_repo.columns import Ragged
from feature_repo.errors import TrainingDataError
from feature_repo.workspace import Workspace
from materialization.events.store import EventStore
from materialization.feast_store import open_store
from ranking_service import bundle
from ranking_service.assemble import with_transforms
from ranking_service.compile_contract import compile_contract
from ranking_service.contract import Contract
from ranking_service.training.baseline.file import BASELINE_FILE, Baseline
from ranking_service.training.baseline.learned import float_lists, learned_baseline
from ranking_service.training.labelled import Labelled, Split, labelled_exposures
from ranking_service.training_join import assemble_table, column_chunks, training_join

OBJECTIVES = {"binary:logistic": "auc", "rank:ndcg": "ndcg@10"}
"""Objective to the metric that stops the training early."""
Step = Callable[[str], None]
"""Called with a sentence at the start of each step."""


@dataclass(frozen=True)
class Recipe:
    """How to fit; the defaults were chosen on KuaiRand's validation day."""

    service: str = "ranker_v1"
    label: str | None = None
    """Outcome column; None takes the event source's own."""
    objective: str = "binary:logistic"
    rounds: int = 1500
    patience: int = 60
    """Rounds without a better validation metric before stopping."""
    seed: int = 0
    threads: int = 0
    """0 takes every core."""
    parameters: dict[str, Any] = field(
        default_factory=lambda: {
            "max_depth": 6,
            "eta": 0.03,
            "subsample": 0.8,
            "colsample_bytree": 0.3,
            "min_child_weight": 50,
            "reg_lambda": 10.0,
            "max_bin": 128,
        }
    )


@dataclass(frozen=True)
class TrainingSet:
    """Labelled rows with their assembled matrix and its contract."""

    labelled: Labelled
    contract: Contract
    matrix: npt.NDArray[np.float32]
    """float32 [rows, features]."""
    split: Split
    origin: Mapping[str, Any] = field(default_factory=lambda: {"kind": "join"})
    """Where the rows come from, for the manifest."""
    embeddings: Mapping[str, Ragged] = field(default_factory=dict)
    """Stored lists of numbers by name, a list per row."""


def train(
    workspace: Workspace,
    recipe: Recipe,
    *,
    split: Split | None = None,
    now: datetime,
    step: Step = lambda _sentence: None,
) -> Path:
    """Fit a ranker on what was known at request time and publish its bundle; returns the bundle's folder.

    Raises TrainingDataError for an unusable label, objective or period, MissingInputError for a missing step.
    """
    check_objective(recipe)
    label = recipe.label or EventStore(workspace.events).source()["label"]
    split = split or Split.by_days(*EventStore(workspace.events).span())
    step("joining features as they were known at request time")
    rows = training_set(workspace, recipe.service, label=label, split=split)
    return fit_and_publish(workspace, rows, recipe, label=label, now=now, step=step)


def check_objective(recipe: Recipe) -> None:
    """Raises TrainingDataError."""
    if recipe.objective not in OBJECTIVES:
        raise TrainingDataError(f"objective {recipe.objective!r} is not one of {', '.join(OBJECTIVES)}")


def fit_and_publish(
    workspace: Workspace,
    rows: TrainingSet,
    recipe: Recipe,
    *,
    label: str,
    now: datetime,
    step: Step = lambda _sentence: None,
) -> Path:
    """The same for every training set, wherever its rows come from; returns the bundle's folder."""
    step(f"fitting {recipe.objective} on {len(rows.matrix):,} rows x {rows.matrix.shape[1]} features")
    booster = fit(rows, recipe)
    step("counting what it learned from")
    counted = _baseline(rows)
    step("publishing the bundle")
    version = f"{now:%Y%m%dT%H%M%S}-{hashlib.sha256(booster.save_raw('ubj')).hexdigest()[:8]}"
    return bundle.publish(
        workspace.models,
        version=version,
        booster=booster,
        contract=rows.contract,
        manifest=_manifest(rows, recipe, label=label, booster=booster, counted=counted),
        attachments={BASELINE_FILE: counted.to_bytes()},
    )


def training_set(workspace: Workspace, service: str, *, label: str, split: Split) -> TrainingSet:
    """Join and assemble the exposures of the whole split; dictionaries come from the training part only."""
    store = open_store(workspace)
    contract = compile_contract(store, service)
    labelled = labelled_exposures(workspace, contract, label=label, start=split.start, end=split.end)
    joined = training_join(store, contract, labelled.requests)
    learned = pa.array(labelled.between(split.start, split.validate_from))
    contract = with_dictionaries(contract, joined.filter(learned))
    matrix = assemble_table(joined, contract)
    return TrainingSet(labelled, contract, matrix, split, embeddings=float_lists(joined, contract))


def with_dictionaries(contract: Contract, rows: pa.Table) -> Contract:
    """The contract with each text feature's categories: most frequent first, ties by name.

    Counted after defaults and transforms, as the model sees them; the empty text is no category but unknown.
    """
    texts = [feature.name for feature in contract.features if feature.field.is_text]
    counts: dict[str, Counter[str]] = {name: Counter() for name in texts}
    for columns in column_chunks(rows, contract):
        filled = with_transforms(columns, contract)
        for name in texts:
            counts[name].update(np.asarray(filled[name]).tolist())
    features = tuple(
        dataclasses.replace(feature, categories=_by_frequency(counts[feature.name]))
        if feature.name in counts
        else feature
        for feature in contract.features
    )
    return dataclasses.replace(contract, features=features)


def _by_frequency(counts: Counter[str]) -> tuple[str, ...]:
    return tuple(sorted(filter(None, counts), key=lambda category: (-counts[category], category)))


def fit(rows: TrainingSet, recipe: Recipe) -> xgboost.Booster:
    """Boost until the validation metric stops improving; keeps the rounds up to the best."""
    parameters = {
        **recipe.parameters,
        "objective": recipe.objective,
        "eval_metric": OBJECTIVES[recipe.objective],
        "seed": recipe.seed,
        "nthread": recipe.threads or None,
    }
    grouped = recipe.objective.startswith("rank:")
    split = rows.split
    bins = int(recipe.parameters.get("max_bin", 256))
    train_rows = _quantized(rows, split.start, split.validate_from, bins=bins, grouped=grouped)
    validation = _quantized(
        rows, split.validate_from, split.test_from, bins=bins, grouped=grouped, ref=train_rows
    )
    booster = xgboost.train(
        {key: value for key, value in parameters.items() if value is not None},
        train_rows,
        recipe.rounds,
        evals=[(validation, "validation")],
        early_stopping_rounds=recipe.patience,
        verbose_eval=False,
    )
    best: xgboost.Booster = booster[: booster.best_iteration + 1]
    best.set_attr(best_iteration=str(booster.best_iteration), best_score=str(booster.best_score))
    return best


def _quantized(
    rows: TrainingSet,
    start: datetime,
    end: datetime,
    *,
    bins: int,
    grouped: bool,
    ref: xgboost.QuantileDMatrix | None = None,
) -> xgboost.QuantileDMatrix:
    chosen = np.flatnonzero(rows.labelled.between(start, end))
    if not len(chosen):
        raise TrainingDataError(
            f"no exposures between {start.isoformat()} and {end.isoformat()}; choose another split"
        )
    lists = rows.labelled.user_day_codes()[chosen]
    if grouped:
        order = np.argsort(lists, kind="stable")
        chosen, lists = chosen[order], lists[order]
    return xgboost.QuantileDMatrix(
        rows.matrix[chosen],
        rows.labelled.label[chosen],
        qid=lists if grouped else None,
        feature_names=list(rows.contract.feature_names),
        max_bin=bins,
        ref=ref,
    )


def _baseline(rows: TrainingSet) -> Baseline:
    """Of what was learned from, neither validation nor test; one slice, because rows are in time order."""
    learned = np.flatnonzero(rows.labelled.between(rows.split.start, rows.split.validate_from))
    first, last = int(learned[0]), int(learned[-1]) + 1
    requests = rows.labelled.requests.slice(first, last - first)
    lists = {name: column.take(learned) for name, column in rows.embeddings.items()}
    return learned_baseline(rows.matrix[first:last], requests, rows.contract, lists)


def _manifest(
    rows: TrainingSet, recipe: Recipe, *, label: str, booster: xgboost.Booster, counted: Baseline
) -> dict[str, Any]:
    return {
        "label": label,
        "origin": dict(rows.origin),
        "recipe": dataclasses.asdict(recipe),
        "split": rows.split.to_json(),
        "rows": {"all": len(rows.matrix), "train": counted.counts.rows},
        "trees": booster.num_boosted_rounds(),
        "validation": {OBJECTIVES[recipe.objective]: float(booster.attr("best_score"))},
        "versions": {"xgboost": xgboost.__version__},
        "baseline": {
            "file": BASELINE_FILE,
            "fingerprint": counted.fingerprint,
            "users": counted.counts.users,
            "requests": counted.counts.requests,
            "rows": counted.counts.rows,
        },
    }
