"""What a benchmark runs on: made-up rows of floats, made-up rows of `ranker_v1`, or a workspace's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import xgboost

from feature_repo.workspace import Workspace
from materialization.feast_store import newest_snapshot
from ranking_service.bench.made_up_rows import WORDS, write_rows
from ranking_service.bench.slates import Case, Slate
from ranking_service.bundle import load, publish
from ranking_service.compile_contract import compile_declared
from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan
from ranking_service.models.registry import registry_of

PROJECT, SERVICE = "bench", "ranker_v1"
USER, ITEM, PAIR = ("user_id",), ("item_id",), ("user_id", "item_id")
TTL_SECONDS = 7 * 86_400.0
TRAINING_ROWS = 4_000
QUICK_TRAINING = {"nthread": 1, "max_bin": 16, "min_child_weight": 0.1}
"""In a second, and with leaves for few rows: on so little data trees would else stay thin."""


@dataclass(frozen=True)
class Size:
    """How much there is, and how much of it a request reads and scores."""

    candidates: int = 500
    catalogue: int = 20_000
    """Items with rows."""
    users: int = 60
    """Users whose candidates are drawn from the whole catalogue."""
    hot_users: int = 10
    """Users who are all shown the same candidates."""
    user_features: int = 60
    item_features: int = 80
    pair_features: int = 50
    views: int = 1
    """Views that the features of a user, an item and a pair are each spread over."""
    trees: int = 300
    depth: int = 6


@dataclass(frozen=True)
class BenchWorld:
    """What one benchmark runs on."""

    bundle: Path
    contract: Contract
    redis_url: str
    at: datetime
    """The instant the requests rank as of."""
    draws: tuple[Slate, ...]
    """Candidates drawn from the whole catalogue, for each user others."""
    hot: tuple[Slate, ...]
    """The same candidates for every user."""
    rows: str
    """What kind of rows these are, for the report."""
    catalogue: int
    """Items that `draws` are drawn from."""
    home: Path | None = None
    """The workspace the servers run in; None is an empty one."""

    @property
    def candidates(self) -> int:
        return len(self.draws[0].item_ids)

    def case(self, slates: Sequence[Slate]) -> Case:
        return Case(self.bundle, self.redis_url, self.at, tuple(slates))


def floats_world(folder: Path, redis_url: str, size: Size, *, project: str = PROJECT) -> BenchWorld:
    """Random floats of a user, items and pairs. Worlds with different projects share a Redis."""
    return _made_up(folder, redis_url, size, floats_contract(size, project), "made-up floats")


def ranker_world(folder: Path, redis_url: str, size: Size) -> BenchWorld:
    """Random values of everything that the feature service `ranker_v1` declares, texts and lists included."""
    declared = compile_declared(PROJECT, SERVICE)
    features = tuple(
        replace(feature, categories=WORDS) if feature.field.is_text else feature
        for feature in declared.features
    )
    contract = replace(declared, features=features)
    return _made_up(folder, redis_url, size, contract, f"made-up values of {SERVICE}")


def workspace_world(
    workspace: Workspace, redis_url: str, *, user_ids: Sequence[str], item_ids: Sequence[str], candidates: int
) -> BenchWorld:
    """The workspace's own bundle on the rows that are materialized, an hour after the newest snapshot."""
    bundle = registry_of(workspace).latest()
    random = np.random.default_rng(0)
    return BenchWorld(
        bundle=bundle,
        contract=load(bundle).contract,
        redis_url=redis_url,
        at=newest_snapshot(workspace) + timedelta(hours=1),
        draws=_drawn(user_ids, item_ids, candidates, random),
        hot=tuple(Slate(user, tuple(item_ids[:candidates])) for user in user_ids),
        rows="the workspace's own",
        catalogue=len(item_ids),
        home=workspace.home,
    )


def floats_contract(size: Size, project: str = PROJECT) -> Contract:
    """Nothing but floats; the model sees them as they are stored."""
    counts = {USER: size.user_features, ITEM: size.item_features, PAIR: size.pair_features}
    names = {USER: "user", ITEM: "item", PAIR: "pair"}
    views = tuple(
        _view(f"{names[keys]}_rows_{number}", keys, len(part))
        for keys, count in counts.items()
        for number, part in enumerate(np.array_split(np.arange(count), size.views))
    )
    features = tuple(ModelFeature(field, view.name, "noise") for view in views for field in view.fields)
    request_fields = (Field("surface", "STRING", ""), Field("request_timestamp", "DOUBLE", 0.0))
    return Contract(project, "bench", views, request_fields, (), features)


def _view(name: str, keys: tuple[str, ...], count: int) -> ViewPlan:
    fields = tuple(Field(f"{name}_{index}", "FLOAT", 0.0) for index in range(count))
    return ViewPlan(name, keys, fields, TTL_SECONDS, "")


def _made_up(folder: Path, redis_url: str, size: Size, contract: Contract, rows: str) -> BenchWorld:
    random = np.random.default_rng(0)
    at = datetime.now(UTC).replace(microsecond=0)
    items = [f"item-{number:06d}" for number in range(size.catalogue)]
    draws = _drawn([f"user-{number:04d}" for number in range(size.users)], items, size.candidates, random)
    shown = tuple(items[: size.candidates])
    hot = tuple(Slate(f"hot-{number:04d}", shown) for number in range(size.hot_users))
    slates = (*draws, *hot)
    pairs = [(slate.user_id, item) for slate in slates for item in slate.item_ids]
    ids = {
        frozenset(USER): {"user_id": [slate.user_id for slate in slates]},
        frozenset(ITEM): {"item_id": items},
        frozenset(PAIR): {"user_id": [user for user, _ in pairs], "item_id": [item for _, item in pairs]},
    }
    write_rows(redis_url, contract, ids, at=at - timedelta(hours=1), random=random)
    booster = _booster(size, contract, random)
    bundle = publish(folder / "models", version="bench", booster=booster, contract=contract, manifest={})
    return BenchWorld(bundle, contract, redis_url, at, draws, hot, rows, size.catalogue)


def _drawn(
    users: Sequence[str], items: Sequence[str], count: int, random: np.random.Generator
) -> tuple[Slate, ...]:
    chosen = (random.choice(len(items), min(count, len(items)), replace=False) for _ in users)
    return tuple(
        Slate(user, tuple(items[place] for place in places))
        for user, places in zip(users, chosen, strict=True)
    )


def _booster(size: Size, contract: Contract, random: np.random.Generator) -> xgboost.Booster:
    """Deep trees on noise: as costly to score as real ones."""
    width = len(contract.features)
    rows = random.normal(size=(TRAINING_ROWS, width)).astype(np.float32)
    for place, feature in enumerate(contract.features):
        if feature.field.is_text:
            rows[:, place] = random.integers(0, len(WORDS), TRAINING_ROWS)
    labels = random.random(TRAINING_ROWS) < 1 / (1 + np.exp(-rows[:, :20].sum(axis=1)))
    data = xgboost.DMatrix(rows, label=labels, feature_names=list(contract.feature_names))
    settings = {"objective": "binary:logistic", "max_depth": size.depth, **QUICK_TRAINING}
    return xgboost.train(settings, data, size.trees)
