"""Populations whose truth is known: users, items and candidates with as much dependence as a test asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xgboost

from feature_repo.columns import Ragged
from ranking_service import bundle as bundles
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan
from ranking_service.training.baseline.file import BASELINE_FILE
from ranking_service.training.baseline.learned import learned_baseline
from skew_checks.distributions import Part

DAY = 86_400.0
FIRST_DAY = 20_000
NAN = float("nan")
COUNTRIES = ("DE", "FR", "PL")
VIEWS = (
    ViewPlan(
        "user_view",
        ("user_id",),
        (Field("user_score", "FLOAT", 0.0), Field("country", "STRING", "")),
        0.0,
        "",
    ),
    ViewPlan(
        "item_view",
        ("item_id",),
        (Field("item_score", "FLOAT", NAN), Field("item_vector", "FLOAT_LIST", "")),
        0.0,
        "",
    ),
    ViewPlan("pair_view", ("user_id", "item_id"), (Field("pair_score", "FLOAT", NAN),), 0.0, ""),
)
MODEL = ("user_score", "country", "item_score", "pair_score")
FIELDS = {field.name: (field, view.name) for view in VIEWS for field in view.fields}
CONTRACT = Contract(
    project="drift",
    service="ranker",
    views=VIEWS,
    request_fields=(Field("surface", "STRING", "home"), Field("request_timestamp", "DOUBLE", NAN)),
    transforms=(),
    features=tuple(
        ModelFeature(field, origin, "", COUNTRIES if name == "country" else ())
        for name in MODEL
        for field, origin in [FIELDS[name]]
    ),
)


@dataclass(frozen=True)
class World:
    """Draws parts. The users' values hang on `seed`, so another seed is another draw of the same population."""

    users: int = 600
    items: int = 800
    requests: int = 1_500
    candidates: int = 12
    days: int = 1
    first_day: int = FIRST_DAY
    within_user: float = 0.95
    """Share of a pair's variance that is its user's: at 1 the candidates of a request are all alike."""
    user_shift: float = 0.0
    item_shift: float = 0.0
    pair_shift: float = 0.0
    missing: float = 0.1
    """Share of pairs without a value."""

    def part(self, seed: int, prefix: str = "u") -> Part:
        """Users are named by `prefix` and seed; the items are everybody's."""
        rng = np.random.default_rng(seed)
        user = rng.integers(0, self.users, self.requests)
        item = np.concatenate(
            [rng.choice(self.items, self.candidates, replace=False) for _ in range(self.requests)]
        )
        request = np.repeat(np.arange(self.requests), self.candidates)
        of_user = rng.normal(size=self.users)
        of_item = np.random.default_rng(99).normal(size=self.items)
        own = rng.normal(size=len(item))
        pair = np.sqrt(self.within_user) * of_user[user][request] + np.sqrt(1 - self.within_user) * own
        matrix = np.empty((len(item), len(MODEL)), np.float32)
        matrix[:, 0] = np.maximum(of_user[user] + self.user_shift, 0)[request]
        matrix[:, 1] = (np.abs(of_user[user] * 7).astype(int) % 3)[request]
        matrix[:, 2] = of_item[item] + self.item_shift
        matrix[:, 3] = np.where(rng.random(len(item)) < self.missing, np.nan, pair + self.pair_shift)
        seconds = (self.first_day + np.sort(rng.uniform(0, self.days, self.requests))) * DAY
        return Part(
            matrix,
            request,
            np.array([f"{prefix}{seed}-{number}" for number in user], object),
            np.array([f"item-{number}" for number in item], object),
            seconds,
            slices={"surface": np.array(["home", "search"], object)[rng.integers(0, 2, self.requests)]},
            embeddings={"item_vector": vectors(item)},
        )


def vectors(item: npt.NDArray[np.int64], length: int = 6, scale: float = 1.0) -> Ragged:
    """Each item's embedding, in a list per row."""
    table = np.random.default_rng(5).normal(size=(int(item.max()) + 1, length)) * scale
    return Ragged(
        np.arange(len(item) + 1) * length, table[item].astype(np.float32).ravel(), np.arange(len(item))
    )


def requests_table(part: Part) -> pa.Table:
    """As training knows its rows."""
    return pa.table(
        {
            "request_id": [f"r{number}" for number in part.request],
            "user_id": part.user_id[part.request],
            "item_id": part.item_id,
            "request_timestamp": part.request_timestamp[part.request],
            "surface": part.slices["surface"][part.request],
        }
    )


@cache
def booster() -> xgboost.Booster:
    rng = np.random.default_rng(0)
    rows = xgboost.DMatrix(rng.random((50, len(MODEL))), rng.random(50), feature_names=list(MODEL))
    return xgboost.train({"max_depth": 2}, rows, 1)


def trained(models: Path, part: Part | None, version: str = "v1") -> Bundle:
    """A bundle with the baseline of what `part` has; without one for None."""
    attachments: Mapping[str, bytes] = {}
    if part is not None:
        counted = learned_baseline(part.model_input, requests_table(part), CONTRACT, part.embeddings)
        attachments = {BASELINE_FILE: counted.to_bytes()}
    path = bundles.publish(
        models,
        version=version,
        booster=booster(),
        contract=CONTRACT,
        manifest={},
        attachments=attachments,
    )
    return bundles.load(path)


def with_input(part: Part, name: str, values: npt.NDArray[np.float32]) -> Part:
    """The part with another column, paired with what it had before."""
    matrix = part.model_input.copy()
    matrix[:, MODEL.index(name)] = values
    return replace(part, model_input=matrix, offline_input=part.model_input)
