"""The frozen baseline: special values first, every value in one bin, counts that add up, a file that keeps them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from drift_world import CONTRACT, MODEL, World, requests_table, trained
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from feature_repo.errors import BundleError
from ranking_service.training.baseline.bins import (
    DEFAULT,
    MINUS_INFINITY,
    MISSING,
    PLUS_INFINITY,
    FeatureBins,
    Kind,
    Over,
    number_bins,
)
from ranking_service.training.baseline.file import BASELINE_FILE, read_baseline
from ranking_service.training.baseline.learned import batches, learned_baseline, row_keys
from ranking_service.training.baseline.population import Population
from ranking_service.training.baseline.rows import RowKeys

FLOATS = st.floats(width=32)


def bins_of(column: np.ndarray, default: float = np.nan) -> FeatureBins:
    return number_bins(column.astype(np.float32), name="x", origin="view", kind=Kind.PAIR, default=default)


def naive_code(value: float, bins: FeatureBins) -> int:
    if np.isnan(value):
        return MISSING
    if np.isinf(value):
        return PLUS_INFINITY if value > 0 else MINUS_INFINITY
    if value == bins.default:
        return DEFAULT
    if value in bins.atoms:
        return DEFAULT + 1 + bins.atoms.index(value)
    return bins.special + sum(value > edge for edge in bins.edges)


@given(
    arrays(np.float32, st.integers(1, 80), elements=FLOATS), arrays(np.float32, 20, elements=FLOATS), FLOATS
)
@settings(max_examples=150, deadline=None)
def test_every_value_lies_in_the_bin_a_naive_reader_gives_it(
    learned: np.ndarray, served: np.ndarray, default: float
) -> None:
    bins = bins_of(learned, default if np.isfinite(default) else np.nan)
    for column in (learned, served, np.array([np.nan, np.inf, -np.inf, default], np.float32)):
        assert bins.codes(column).tolist() == [naive_code(value, bins) for value in column.tolist()]
    assert len(bins.labels) == bins.size == len(bins.places)
    assert list(bins.edges) == sorted(set(bins.edges))


def test_special_values_have_bins_of_their_own_and_the_rest_twenty_even_ones() -> None:
    rng = np.random.default_rng(0)
    column = np.concatenate(
        [np.full(100, np.nan), np.zeros(500), np.full(300, 7.5), [np.inf], rng.normal(size=9_099)]
    ).astype(np.float32)
    bins = bins_of(column, default=0.0)
    counts = np.bincount(bins.codes(column), minlength=bins.size)
    assert bins.labels[:5] == ("missing", "+inf", "-inf", "default 0", "= 7.5")
    assert counts[:5].tolist() == [100, 1, 0, 500, 300]
    assert len(counts[5:]) == 20
    assert counts[5:].min() > 450
    assert counts[5:].max() < 460


def test_texts_have_a_bin_per_category_and_one_for_the_unseen(tmp_path: Path) -> None:
    bundle = trained(tmp_path, World().part(1))
    baseline = read_baseline(bundle.path)
    assert baseline is not None
    bins = baseline.counts.bins[MODEL.index("country")]
    assert bins.labels == ("unseen", "DE", "FR", "PL")
    assert bins.codes(np.array([np.nan, 0, 1, 2], np.float32)).tolist() == [0, 1, 2, 3]
    assert bins.codes(np.array([3, 200, -1, np.inf], np.float32)).tolist() == [0, 0, 0, 0]


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    part = World(days=3).part(1)
    made = learned_baseline(part.model_input, requests_table(part), CONTRACT, part.embeddings)
    read = read_baseline(trained(tmp_path, part).path)
    assert read is not None
    assert read.counts.bins == made.counts.bins or repr(read.counts.bins) == repr(made.counts.bins)
    assert read.fingerprint == made.fingerprint
    assert (read.counts.users, read.counts.requests, read.counts.rows) == (
        len(set(part.user_id)),
        1_500,
        18_000,
    )
    for place in range(len(read.counts.bins)):
        np.testing.assert_array_equal(read.counts.counts(place), made.counts.counts(place))
        for cell, counts in made.counts.by_cell(place).items():
            np.testing.assert_array_equal(read.counts.by_cell(place)[cell], counts)
    np.testing.assert_array_equal(read.sample.matrix, made.sample.matrix)
    assert read.dimensions == {"item_vector": 6}


def test_users_count_by_request_items_by_version_and_pairs_by_row(tmp_path: Path) -> None:
    part = World().part(1)
    baseline = read_baseline(trained(tmp_path, part).path)
    assert baseline is not None
    totals = dict(zip(MODEL, (baseline.counts.counts(place).sum() for place in range(4)), strict=True))
    assert totals["user_score"] == 1_500
    assert totals["item_score"] == len(set(part.item_id))
    assert totals["pair_score"] == 18_000


def test_an_item_shown_a_thousand_times_counts_once_and_a_new_value_again() -> None:
    bins = (number_bins(np.arange(100, dtype=np.float32), name="x", origin="view", kind=Kind.ITEM),)
    population = Population(bins)
    keys = RowKeys(
        np.arange(1_000), np.arange(1_000, dtype=np.uint64), np.ones(1_000, np.uint64), np.zeros(1_000)
    )
    for value in (5.0, 5.0, 80.0):
        population.add(np.full((1_000, 1), value, np.float32), keys)
    assert population.frozen().counts(0).sum() == 2
    assert population.frozen().feature_units == (2,)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_counts_of_parts_add_up_to_those_of_the_whole(parts: int, seed: int) -> None:
    part = World(users=50, items=40, requests=60, candidates=5, days=3).part(seed % 1_000)
    bins = learned_baseline(part.model_input, requests_table(part), CONTRACT, {}).counts.bins
    keys = row_keys(requests_table(part))
    whole, merged = Population(bins), Population(bins)
    whole.add(part.model_input, keys)
    of_request = np.random.default_rng(seed).integers(0, parts, len(keys.user))
    for number in range(parts):
        rows = np.flatnonzero(of_request[keys.request] == number)
        other = Population(bins)
        if len(rows):
            other.add(part.model_input[rows], keys.take(rows))
        merged.merge(other)
    one, two = whole.frozen(), merged.frozen()
    assert (one.users, one.requests, one.rows, one.feature_units, one.units) == (
        two.users,
        two.requests,
        two.rows,
        two.feature_units,
        two.units,
    )
    for over in Over:
        np.testing.assert_array_equal(one.by[over], two.by[over])
    for mine, theirs in ((one.cells, two.cells), (one.slices, two.slices)):
        assert mine.keys() == theirs.keys()
        for name in mine:
            np.testing.assert_array_equal(mine[name], theirs[name])
    assert whole.sample is not None
    assert merged.sample is not None
    np.testing.assert_array_equal(np.sort(whole.sample.order), np.sort(merged.sample.order))


def test_a_batch_never_cuts_a_request_in_two() -> None:
    keys = row_keys(requests_table(World(requests=40).part(1)))
    seen: list[int] = []
    for rows in batches(keys, 25):
        requests = set(keys.request[rows].tolist())
        assert not requests & set(seen)
        seen += requests
    assert sorted(seen) == list(range(40))


def test_a_bundle_without_a_baseline_still_loads_and_a_damaged_one_is_named(tmp_path: Path) -> None:
    assert read_baseline(trained(tmp_path, None, "old").path) is None
    bundle = trained(tmp_path, World(requests=100).part(1), "new")
    path = bundle.path / BASELINE_FILE
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BundleError, match=BASELINE_FILE):
        read_baseline(bundle.path)


def test_counts_in_the_format_of_another_version_count_as_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranking_service.training.baseline.file.FORMAT", 1)
    folder = trained(tmp_path, World(requests=100).part(1)).path
    assert read_baseline(folder) is not None
    monkeypatch.undo()
    assert read_baseline(folder) is None
