"""The distribution checks of a night, on populations whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drift_world import CONTRACT, FIRST_DAY, MODEL, NAN, World, trained, vectors, with_input

from feature_repo.errors import BundleError
from ranking_service.bundle import Bundle
from ranking_service.training.baseline.file import read_baseline
from skew_checks.distributions import DriftCounter, DriftSettings, Part
from skew_checks.result.parts import Status, Unit
from skew_checks.result.population import Drift, DriftTest

TRAINING = World(users=1_500, requests=4_000, days=8)
NIGHT = World(first_day=FIRST_DAY + 9)
QUICK, WHOLE = DriftSettings(classifier_rows=100), DriftSettings()
"""Without, and with, enough rows for the classifiers of domains."""
Against = Mapping[tuple[str, str], Drift]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return trained(tmp_path_factory.mktemp("models"), TRAINING.part(1))


def judged(bundle: Bundle, part: Part, settings: DriftSettings | None = None, **more: Any) -> Against:
    """Drifts by feature and what they are against."""
    counter = DriftCounter.of(bundle, CONTRACT, settings=settings or QUICK)
    counter.add(part)
    return {(drift.feature, drift.against): drift for drift in counter.finish(**more)}


def news(found: Against) -> set[str]:
    return {drift.feature for drift in found.values() if drift.status not in (Status.OK, Status.INSUFFICIENT)}


def result(drift: Drift, statistic: str) -> DriftTest:
    return next(test for test in drift.tests if test.statistic == statistic)


def test_other_users_of_the_same_population_are_no_news(bundle: Bundle) -> None:
    part = NIGHT.part(2)
    found = judged(bundle, replace(part, offline_input=part.model_input), WHOLE)
    assert news(found) == set()
    assert {drift.status for drift in found.values()} == {Status.OK}
    for name in MODEL:
        assert {found[name, against].status for against in ("training", "replayed")} == {Status.OK}


@pytest.mark.parametrize(
    ("change", "feature", "statistic"),
    [
        ({"pair_shift": 1.0}, "pair_score", "kolmogorov_smirnov"),
        ({"user_shift": 1.0}, "user_score", "default_rate"),
        ({"item_shift": 1.0}, "item_score", "wasserstein"),
        ({"missing": 0.4}, "pair_score", "null_rate"),
    ],
)
def test_a_shift_of_the_population_is_news_and_never_skew(
    bundle: Bundle, change: dict[str, float], feature: str, statistic: str
) -> None:
    part = replace(NIGHT, **change).part(2)
    found = judged(bundle, replace(part, offline_input=part.model_input))
    assert news(found) - {"(all features)"} == {feature}
    drift = found[feature, "training"]
    assert drift.status is Status.WARN
    assert result(drift, statistic).status in (Status.WARN, Status.FAIL)
    assert result(drift, statistic).value > result(drift, statistic).tolerance
    assert found[feature, "replayed"].status is Status.OK


def test_a_served_value_in_another_bin_than_the_replayed_one_is_skew(bundle: Bundle) -> None:
    part = NIGHT.part(2)
    column = part.model_input[:, MODEL.index("pair_score")].copy()
    wrong = part.request < 15
    column[wrong] = NAN
    found = judged(bundle, with_input(part, "pair_score", column))
    drift = found["pair_score", "replayed"]
    assert drift.status is Status.FAIL
    assert result(drift, "moved_share").value == 15 / NIGHT.requests
    assert drift.effective_n == NIGHT.requests
    assert found["pair_score", "training"].status is Status.OK
    assert drift.bins is not None
    served, replayed = drift.bins.counts["served"], drift.bins.counts["replayed"]
    assert sum(served) == sum(replayed) == len(column)
    assert served != replayed
    assert {found[name, "replayed"].status for name in MODEL if name != "pair_score"} == {Status.OK}


def test_one_request_out_of_many_thousands_is_no_failure_yet(bundle: Bundle) -> None:
    part = NIGHT.part(2)
    column = part.model_input[:, MODEL.index("item_score")].copy()
    column[0] += 3
    assert (
        judged(bundle, with_input(part, "item_score", column))["item_score", "replayed"].status is Status.WARN
    )


def test_another_rounding_of_the_last_bit_is_the_same_wherever_the_edges_lie(bundle: Bundle) -> None:
    baseline = read_baseline(bundle.path)
    assert baseline is not None
    bins = baseline.counts.bins[MODEL.index("pair_score")]
    edge = np.full(len(NIGHT.part(2).model_input), bins.edges[3], np.float32)
    above = np.nextafter(edge, np.float32(np.inf))
    assert (bins.codes(edge) != bins.codes(above)).all()
    on_edge = with_input(NIGHT.part(2), "pair_score", edge)
    served = with_input(on_edge, "pair_score", above)
    found = judged(bundle, replace(served, offline_input=on_edge.model_input.copy()))
    assert found["pair_score", "replayed"].status is Status.OK


def test_missing_on_both_sides_is_the_same(bundle: Bundle) -> None:
    part = NIGHT.part(2)
    column = np.full(len(part.model_input), NAN, np.float32)
    both = with_input(part, "pair_score", column)
    found = judged(bundle, replace(both, offline_input=both.model_input.copy()))
    assert found["pair_score", "replayed"].status is Status.OK


def test_few_requests_are_insufficient_and_never_ok(bundle: Bundle) -> None:
    found = judged(bundle, World(requests=40, users=40, first_day=FIRST_DAY + 9).part(2))
    assert {drift.status for drift in found.values() if drift.view != "item_view"} == {Status.INSUFFICIENT}


def test_many_requests_of_few_users_are_insufficient_for_what_is_the_users(bundle: Bundle) -> None:
    found = judged(bundle, replace(NIGHT, users=60, requests=3_000).part(2))
    drift = found["user_score", "training"]
    assert (drift.status, drift.unit) == (Status.INSUFFICIENT, Unit.REQUESTS)
    assert drift.effective_n <= 100


def test_a_bundle_without_a_baseline_is_insufficient_and_says_so(tmp_path: Path) -> None:
    counter = DriftCounter.of(trained(tmp_path, None), CONTRACT)
    counter.add(NIGHT.part(2))
    found = counter.finish()
    assert [(drift.feature, drift.status) for drift in found] == [
        (name, Status.INSUFFICIENT) for name in MODEL
    ]
    assert "no baseline" in counter.notes[0]
    counter.write(tmp_path / "counts.npz")
    assert not (tmp_path / "counts.npz").exists()


def test_parts_and_replicas_add_up(bundle: Bundle) -> None:
    first, second = NIGHT.part(2), replace(NIGHT, pair_shift=0.3).part(3)
    one, other = (DriftCounter.of(bundle, CONTRACT, settings=QUICK) for _ in range(2))
    for part in (first, second):
        one.add(replace(part, offline_input=part.model_input))
    other.add(replace(first, offline_input=first.model_input))
    replica = DriftCounter.of(bundle, CONTRACT, settings=QUICK)
    replica.add(replace(second, offline_input=second.model_input))
    other.merge(replica)
    assert [asdict(drift) for drift in one.finish()] == [asdict(drift) for drift in other.finish()]
    assert one.requests == other.requests == 3_000


def nights_before(drift: Drift, count: int) -> list[dict[str, Any]]:
    """JSON reports that had this drift."""
    return [{"drift": [asdict(drift)]} for _ in range(count)]


def test_a_small_change_fails_on_the_second_of_three_nights_and_a_large_one_at_once(bundle: Bundle) -> None:
    small = replace(NIGHT, pair_shift=0.6).part(2)
    drift = judged(bundle, small)["pair_score", "training"]
    first = result(drift, "kolmogorov_smirnov")
    assert (drift.status, first.status) == (Status.WARN, Status.WARN)
    calm: dict[str, Any] = {"drift": []}
    again = judged(bundle, small, earlier=[calm, *nights_before(drift, 1)])["pair_score", "training"]
    assert (again.status, result(again, "kolmogorov_smirnov").status) == (Status.WARN, Status.FAIL)
    long_ago = judged(bundle, small, earlier=[calm, calm, *nights_before(drift, 1)])
    assert result(long_ago["pair_score", "training"], "kolmogorov_smirnov").status is Status.WARN
    large = judged(bundle, replace(NIGHT, pair_shift=2.0).part(2))["pair_score", "training"]
    assert result(large, "kolmogorov_smirnov").status is Status.FAIL


def test_day_against_day_sees_what_changed_overnight(bundle: Bundle, tmp_path: Path) -> None:
    yesterday = DriftCounter.of(bundle, CONTRACT, settings=QUICK)
    yesterday.add(replace(NIGHT, pair_shift=1.5).part(2))
    yesterday.write(tmp_path / "counts.npz")
    night = replace(NIGHT, first_day=FIRST_DAY + 10)
    same = judged(bundle, replace(night, pair_shift=1.5).part(3), previous=tmp_path / "counts.npz")
    assert same["pair_score", "previous day"].status is Status.OK
    assert same["pair_score", "training"].status is Status.WARN
    back = judged(bundle, night.part(3), previous=tmp_path / "counts.npz")
    assert back["pair_score", "previous day"].status is Status.WARN
    assert back["pair_score", "training"].status is Status.OK


def test_another_bundles_day_is_not_compared(bundle: Bundle, tmp_path: Path) -> None:
    other = DriftCounter.of(trained(tmp_path, TRAINING.part(5), "other"), CONTRACT, settings=QUICK)
    other.add(NIGHT.part(2))
    other.write(tmp_path / "counts.npz")
    counter = DriftCounter.of(bundle, CONTRACT, settings=QUICK)
    counter.add(NIGHT.part(2))
    assert {drift.against for drift in counter.finish(previous=tmp_path / "counts.npz")} == {"training"}
    assert "was not what served in counts.npz" in counter.notes[0]
    counter.finish(previous=tmp_path / "gone.npz")
    assert "no counts of the day before" in counter.notes[0]
    (tmp_path / "counts.npz").write_bytes(b"half of it")
    counter.finish(previous=tmp_path / "counts.npz")
    assert "counts.npz holds no counts" in counter.notes[0]


def test_slices_say_where_the_change_is_and_only_of_what_changed(bundle: Bundle) -> None:
    part = NIGHT.part(2)
    of_search = (part.slices["surface"] == "search")[part.request]
    column = part.model_input[:, MODEL.index("pair_score")].copy()
    column[of_search] += 1.5
    found = judged(bundle, with_input(part, "pair_score", column))
    (surface,) = found["pair_score", "training"].slices
    assert (surface.dimension, [part.name for part in surface.parts]) == ("surface", ["search", "home"])
    assert surface.parts[0].share > 4 * surface.parts[1].share
    assert sum(part.units for part in surface.parts) == NIGHT.requests
    assert found["item_score", "training"].slices == ()


def test_only_what_was_returned_is_compared_with_training_and_everything_with_replay(bundle: Bundle) -> None:
    part = NIGHT.part(2)
    column = part.model_input[:, MODEL.index("pair_score")].copy()
    hidden = np.arange(len(column)) % NIGHT.candidates >= 6
    column[hidden] += 3
    found = judged(bundle, replace(with_input(part, "pair_score", column), returned=~hidden))
    assert found["pair_score", "training"].status is Status.OK
    assert found["pair_score", "replayed"].status is Status.FAIL


def scaled(part: Part) -> Part:
    numbers = np.array([int(name.split("-")[1]) for name in part.item_id])
    return replace(part, embeddings={"item_vector": vectors(numbers, scale=3.0)})


def of_another_length(part: Part) -> Part:
    numbers = np.array([int(name.split("-")[1]) for name in part.item_id])
    return replace(part, embeddings={"item_vector": vectors(numbers, length=8)})


@pytest.mark.parametrize(
    ("change", "named"), [(scaled, {"norm", "projection"}), (of_another_length, {"norm", "projection"})]
)
def test_embeddings_of_another_norm_or_length_are_news(
    bundle: Bundle, change: Callable[[Part], Part], named: set[str]
) -> None:
    found = judged(bundle, change(NIGHT.part(2)), WHOLE)
    assert {name.split("#")[1].split("-")[0] for name in news(found) if "#" in name} == named
    whole = found["item_vector", "training"]
    assert whole.status is Status.WARN
    assert result(whole, "domain_auc").value > 0.8


def test_sliced_wasserstein_is_the_mean_over_projections(bundle: Bundle) -> None:
    found = judged(bundle, scaled(NIGHT.part(2)))
    each = [
        result(drift, "wasserstein").value
        for (name, _), drift in found.items()
        if name.startswith("item_vector#projection")
    ]
    assert len(each) == 8
    assert result(found["item_vector", "training"], "sliced_wasserstein").value == pytest.approx(
        np.mean(each)
    )


def test_all_features_together_show_what_no_single_one_does(bundle: Bundle) -> None:
    """Users' scores are dealt out anew among them: every column stays as it was, their agreement is gone."""
    part = NIGHT.part(2)
    scores = part.model_input[:, MODEL.index("pair_score")]
    other = replace(NIGHT, missing=0.1).part(7).model_input[:, MODEL.index("pair_score")]
    assert len(scores) == len(other)
    found = judged(bundle, with_input(part, "pair_score", other), WHOLE)
    assert found["pair_score", "training"].status is Status.OK
    together = found["(all features)", "training"]
    assert together.status is Status.WARN
    assert result(together, "domain_auc").value > 0.68


def test_a_weekday_that_differs_as_weekdays_do_is_no_news(tmp_path: Path) -> None:
    """A feature that is the day of the week: no day is distributed like a week, and no such day is news."""

    def weekday(part: Part) -> Part:
        column = ((part.request_timestamp // 86_400) % 7)[part.request].astype(np.float32)
        return replace(with_input(part, "pair_score", column), offline_input=None)

    bundle = trained(tmp_path, weekday(replace(TRAINING, days=14).part(1)))
    found = judged(bundle, weekday(replace(NIGHT, first_day=FIRST_DAY + 15).part(2)))
    drift = found["pair_score", "training"]
    assert drift.status is not Status.WARN
    assert result(drift, "psi").value > DriftSettings().tolerances["psi"]
    assert result(drift, "psi").tolerance > DriftSettings().tolerances["psi"]


def test_a_matrix_of_another_width_is_refused(bundle: Bundle) -> None:
    part = NIGHT.part(2)
    with pytest.raises(BundleError, match="found a matrix of 3 columns"):
        DriftCounter.of(bundle, CONTRACT).add(replace(part, model_input=part.model_input[:, :3]))


def test_counts_of_another_bundle_are_not_added(bundle: Bundle, tmp_path: Path) -> None:
    other = DriftCounter.of(trained(tmp_path, None, "other"), CONTRACT, settings=QUICK)
    with pytest.raises(BundleError, match="other"):
        DriftCounter.of(bundle, CONTRACT).merge(other)
