"""Bundles: published whole, loaded only when undamaged and fitting."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from feature_repo.errors import BundleError
from ranking_service import bundle
from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan

FIELDS = tuple(Field(f"item_{index}", "FLOAT", math.nan) for index in range(3))
CONTRACT = Contract(
    project="rank",
    service="ranker",
    views=(ViewPlan("item_stats", ("item_id",), FIELDS, 0.0, "abc"),),
    request_fields=(Field("surface", "STRING", "home"),),
    transforms=(),
    features=tuple(ModelFeature(field, "item_stats", "a number") for field in FIELDS),
)


@pytest.fixture(scope="module")
def booster() -> xgboost.Booster:
    rows = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    data = xgboost.DMatrix(rows, label=rows[:, 0] > 0, feature_names=[field.name for field in FIELDS])
    return xgboost.train({"objective": "binary:logistic", "max_depth": 3}, data, 5)


@pytest.fixture
def models(tmp_path: Path, booster: xgboost.Booster) -> Path:
    published(tmp_path, booster, "2026-03-01")
    return tmp_path


def published(models: Path, booster: xgboost.Booster, version: str) -> Path:
    return bundle.publish(
        models, version=version, booster=booster, contract=CONTRACT, manifest={"metrics": {"auc": 0.7}}
    )


def test_a_published_bundle_loads_with_its_contract_and_scores_alike(
    models: Path, booster: xgboost.Booster
) -> None:
    loaded = bundle.load(models / "2026-03-01")
    rows = np.ones((4, 3), np.float32)
    assert loaded.version == "2026-03-01"
    assert loaded.contract.to_json() == CONTRACT.to_json()
    assert loaded.manifest["metrics"] == {"auc": 0.7}
    np.testing.assert_array_equal(loaded.booster.inplace_predict(rows), booster.inplace_predict(rows))


def test_publishing_leaves_nothing_but_the_bundle(models: Path) -> None:
    assert [path.name for path in models.iterdir()] == ["2026-03-01"]
    assert sorted(path.name for path in (models / "2026-03-01").iterdir()) == ["manifest.json", "model.ubj"]


def test_a_published_version_is_never_overwritten(models: Path, booster: xgboost.Booster) -> None:
    before = (models / "2026-03-01" / "manifest.json").read_bytes()
    with pytest.raises(BundleError, match="never changes"):
        published(models, booster, "2026-03-01")
    assert (models / "2026-03-01" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("version", ["", ".hidden", "a/b", "../up", "promoted", "promotions", "a b"])
def test_a_version_that_is_no_plain_name_is_refused(
    tmp_path: Path, booster: xgboost.Booster, version: str
) -> None:
    with pytest.raises(BundleError, match="bundle version"):
        published(tmp_path, booster, version)


def test_entries_json_does_not_know_are_refused(tmp_path: Path, booster: xgboost.Booster) -> None:
    with pytest.raises(BundleError, match="not plain JSON"):
        bundle.publish(tmp_path, version="1", booster=booster, contract=CONTRACT, manifest={"auc": math.nan})


def test_the_trainers_entries_cannot_replace_the_bundles_own(
    tmp_path: Path, booster: xgboost.Booster
) -> None:
    with pytest.raises(BundleError, match="contract"):
        bundle.publish(tmp_path, version="1", booster=booster, contract=CONTRACT, manifest={"contract": {}})


def test_a_booster_that_does_not_fit_the_contract_is_not_published(
    tmp_path: Path, booster: xgboost.Booster
) -> None:
    narrow = replace(CONTRACT, features=CONTRACT.features[:2])
    with pytest.raises(BundleError, match="3 columns, its contract 2 features"):
        bundle.publish(tmp_path, version="1", booster=booster, contract=narrow, manifest={})
    swapped = replace(CONTRACT, features=CONTRACT.features[::-1])
    with pytest.raises(BundleError, match="column 0 is item_0 in the model but item_2 in the contract"):
        bundle.publish(tmp_path, version="1", booster=booster, contract=swapped, manifest={})


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json"])
def test_a_missing_file_is_named(models: Path, name: str) -> None:
    (models / "2026-03-01" / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        bundle.load(models / "2026-03-01")


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json"])
def test_a_truncated_file_is_named(models: Path, name: str) -> None:
    path = models / "2026-03-01" / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BundleError, match=name):
        bundle.load(models / "2026-03-01")


def test_any_flipped_bit_of_the_model_is_found(models: Path) -> None:
    path = models / "2026-03-01" / "model.ubj"
    whole = path.read_bytes()

    @given(st.integers(0, len(whole) * 8 - 1))
    @settings(max_examples=50, deadline=None)
    def flipped(bit: int) -> None:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=r"model\.ubj is damaged"):
            bundle.load(models / "2026-03-01")

    flipped()


def test_a_changed_manifest_is_found(models: Path) -> None:
    path = models / "2026-03-01" / "manifest.json"
    content = json.loads(path.read_text())
    content["contract"]["views"][0]["ttl_seconds"] = 5.0
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match=r"manifest\.json is damaged"):
        bundle.load(models / "2026-03-01")


def test_a_renamed_bundle_is_refused(models: Path) -> None:
    (models / "2026-03-01").rename(models / "2026-04-01")
    with pytest.raises(BundleError, match="holds version 2026-03-01"):
        bundle.load(models / "2026-04-01")
