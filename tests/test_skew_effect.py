"""What a wrong feature does to a ranking, by hand-computed slates; what is put right, and what stays as served."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.columns import Columns
from feature_repo.workspace import Workspace
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract, Field, ModelFeature, ViewPlan
from skew_checks.bench.night import night
from skew_checks.bench.world import Size, made_world
from skew_checks.effect.corrected import Rows, mapped_back
from skew_checks.effect.drifted import drift_effects
from skew_checks.effect.rescoring import Slate, effect
from skew_checks.replay.served import read_log
from skew_checks.result.parts import Window

UNKNOWN = math.nan


def first_column(matrix: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A model that is its first feature."""
    return matrix[:, 0]


def slate(served: Sequence[float], right: Sequence[float], outcome: Sequence[float] | None = None) -> Slate:
    matrices = (np.array(values, np.float32)[:, None] for values in (served, right))
    return Slate(next(matrices), next(matrices), np.array(outcome or [UNKNOWN] * len(served)))


def test_an_untouched_ranking_has_no_effect() -> None:
    found = effect(first_column, [slate([3, 2, 1], [3, 2, 1])], touched=1, judged=1)
    assert found is not None
    assert (found.changed, found.overlap_at_10, found.kendall_tau, found.score_shift) == (0, 1, 1, 0)
    assert found.harm == 0


def test_a_turned_ranking_of_more_than_ten_loses_part_of_its_top() -> None:
    served = list(range(12, 0, -1))
    found = effect(first_column, [slate(served, served[::-1])], touched=30, judged=120)
    assert found is not None
    assert found.changed == 0.25
    assert found.overlap_at_10 == 0.8
    assert found.kendall_tau == -1
    assert found.score_shift == pytest.approx(6.0)
    assert found.ndcg_at_10 is None


def test_the_gain_in_ndcg_counts_shown_candidates_only() -> None:
    served, right = [5.0, 4.0, 9.0], [4.0, 5.0, 9.0]
    found = effect(first_column, [slate(served, right, [0, 1, UNKNOWN])], touched=1, judged=1)
    assert found is not None
    assert found.ndcg_at_10 == pytest.approx(1 - 1 / math.log2(3))


def test_without_a_request_there_is_no_effect_to_tell() -> None:
    assert effect(first_column, [], touched=0, judged=10) is None


def test_harm_grows_with_the_share_of_requests_and_with_what_the_top_loses() -> None:
    served = list(range(12, 0, -1))
    turned = [slate(served, served[::-1])]
    few, many = (effect(first_column, turned, touched=touched, judged=100) for touched in (1, 90))
    swapped = effect(first_column, [slate([3, 2, 1], [2, 3, 1])], touched=90, judged=100)
    assert few is not None
    assert many is not None
    assert swapped is not None
    assert 0 < few.harm < swapped.harm < many.harm <= 1


VIEW = ViewPlan(
    "item", ("item_id",), (Field("length", "FLOAT", 7.0), Field("clicks", "FLOAT", math.nan)), 0, ""
)
CONTRACT = Contract(
    project="p",
    service="s",
    views=(VIEW,),
    request_fields=(),
    transforms=(),
    features=tuple(ModelFeature(field, "item", "") for field in VIEW.fields),
)


def rows(served: list[list[float]], logged: Columns, offline: Columns) -> Rows:
    return Rows(CONTRACT, np.array(served, np.float32), logged, offline)


def test_only_what_the_suspect_changes_is_put_right() -> None:
    logged: Columns = {"length": np.array([1.0, 2.0]), "clicks": np.array([5.0, 6.0])}
    offline: Columns = {"length": np.array([1.0, 9.0]), "clicks": np.array([50.0, 60.0])}
    served = rows([[1, 5], [2, 77]], logged, offline)
    np.testing.assert_array_equal(served.corrected(["length"]), [[1, 5], [9, 77]])
    np.testing.assert_array_equal(served.corrected([], ["clicks"]), [[1, 50], [2, 60]])
    np.testing.assert_array_equal(served.corrected([]), served.served)


def test_an_offline_value_that_is_missing_takes_its_default() -> None:
    logged: Columns = {"length": np.array([1.0]), "clicks": np.array([5.0])}
    offline: Columns = {"length": np.array([np.nan]), "clicks": np.array([np.nan])}
    np.testing.assert_array_equal(
        rows([[1, 5]], logged, offline).corrected(["length", "clicks"]), [[7, np.nan]]
    )


@given(arrays(np.float32, st.integers(2, 60), elements=st.floats(-1e6, 1e6, width=32)))
def test_mapping_a_population_onto_itself_keeps_the_order(values: npt.NDArray[np.float32]) -> None:
    training = np.quantile(values.astype(np.float64), np.linspace(0, 1, 101))
    mapped = mapped_back(values, now=values, training=training)
    order = np.argsort(values, kind="stable")
    assert (np.diff(mapped[order]) >= 0).all()
    assert mapped.min() >= values.min()
    assert mapped.max() <= values.max()


def test_a_shifted_population_is_mapped_back_and_what_is_missing_stays() -> None:
    training = np.linspace(0, 100, 101)
    now = np.linspace(1000, 1100, 2001).astype(np.float32)
    column = np.array([1010, 1050, np.nan, np.inf], np.float32)
    mapped = mapped_back(column, now=now, training=training)
    np.testing.assert_allclose(mapped[:2], [10, 50], atol=0.1)
    assert np.isnan(mapped[2])
    assert np.isinf(mapped[3])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Bundle]]:
    folder = tmp_path_factory.mktemp("effect")
    size = Size(users=100, items=80, days=5, served_day=4, dense_days=2, has_weekend=False, rounds=10)
    with made_world(folder / "world", size) as world:
        with night(world, folder / "night", requests=world.requests[:30]) as made:
            made.serve()
        yield made.workspace, world.bundle


def test_a_feature_that_did_not_move_hardly_changes_a_ranking_and_one_that_did_is_moved_back(
    served: tuple[Workspace, Bundle],
) -> None:
    workspace, bundle = served
    segments = read_log(workspace.serving_log, Window()).segments
    inputs = np.concatenate([segment.read().model_input for segment in segments])
    gains = bundle.booster.get_score(importance_type="gain")
    numbers = {feature.name for feature in bundle.contract.features if not feature.categories}
    best = max(numbers & set(gains), key=lambda name: gains[name])
    place = bundle.contract.feature_names.index(best)
    same = drift_effects(bundle, segments, inputs, [best])[best]
    elsewhere = inputs.copy()
    elsewhere[:, place] = 10 * elsewhere[:, place] + 1e4
    moved = drift_effects(bundle, segments, elsewhere, [best])[best]
    assert same.requests == moved.requests == 30
    assert same.score_shift < 0.2 * moved.score_shift
    assert same.kendall_tau > moved.kendall_tau
    assert drift_effects(bundle, segments, inputs, ["no such feature"]) == {}
