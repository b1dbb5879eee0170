"""Frozen bins of one model column: special values first, then quantiles of the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ranking_service.contract import Contract, ModelFeature

QUANTILES = 20
ATOM = 0.02
"""A value with at least this share of the rows is a bin of its own."""
CATEGORIES = 40
"""The most frequent texts have a bin each, the others one together."""
MISSING, PLUS_INFINITY, MINUS_INFINITY, DEFAULT = range(4)
LARGEST = float(np.finfo(np.float32).max)

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]


class Kind(StrEnum):
    """Of what a column is a property, which says what is counted and who is independent of whom."""

    USER = "user"
    """Counted once per request; users are independent."""
    ITEM = "item"
    """Counted once per version of an item, which is a different set of values in its view; items are independent."""
    PAIR = "pair"
    """And all that is computed at request time: counted per row; users are independent, and so are items."""


class Over(StrEnum):
    """What falls into groups, to see how a count varies."""

    USER = "user"
    ITEM = "item"
    PAIR = "pair"
    ROW = "row"
    """Different rows of an item's view, whoever's they are: a genre's figures are one row of all its items."""


GROUPED = {
    Kind.USER: (Over.USER,),
    Kind.ITEM: (Over.ITEM, Over.ROW),
    Kind.PAIR: (Over.USER, Over.ITEM, Over.PAIR),
}
"""By what a feature's counts are kept."""


@dataclass(frozen=True)
class FeatureBins:
    """Bin 0 holds missing values (null and NaN are one to the model). Of a number follow +inf, -inf, the declared
    default, the atoms, and (edge, edge] of all else with open ends; of a text one bin per category, and "other". A code
    that no category has counts as missing.
    """

    feature: str
    origin: str
    """View or transform."""
    kind: Kind
    default: float
    """NaN where a missing value stays missing."""
    atoms: tuple[float, ...]
    """Ascending, without the default."""
    edges: tuple[float, ...]
    """Ascending; one fewer than there are ordinary bins."""
    centres: tuple[float, ...]
    """Mean of training's values, by ordinary bin."""
    categories: tuple[str, ...] = ()
    """Of a text, by code."""

    @property
    def is_text(self) -> bool:
        return bool(self.categories)

    @cached_property
    def special(self) -> int:
        """So many bins come before the ordinary ones."""
        return 1 if self.is_text else 4 + len(self.atoms)

    @cached_property
    def size(self) -> int:
        if self.is_text:
            return 1 + min(len(self.categories), CATEGORIES + 1)
        return self.special + len(self.edges) + 1

    @cached_property
    def labels(self) -> tuple[str, ...]:
        if self.is_text:
            shown = self.categories[:CATEGORIES]
            return ("unseen", *shown, *(("other",) if len(self.categories) > CATEGORIES else ()))
        ends = [f"{edge:.6g}" for edge in self.edges]
        pairs = zip(["-inf", *ends], [*ends, "inf"], strict=True)
        default = "default" if np.isnan(self.default) else f"default {self.default:.6g}"
        atoms = (f"= {atom:.6g}" for atom in self.atoms)
        return ("missing", "+inf", "-inf", default, *atoms, *(f"({low}, {high}]" for low, high in pairs))

    @cached_property
    def places(self) -> npt.NDArray[np.float64]:
        """float64 [bins]: where on the line a bin lies, for distances; NaN for those that have no place."""
        if self.is_text:
            return np.full(self.size, np.nan)
        return np.array([np.nan, np.nan, np.nan, self.default, *self.atoms, *self.centres])

    def codes(self, column: Floats) -> Codes:
        """uint8 [rows]: the bin of each value."""
        if self.is_text:
            is_known = (column >= 0) & (column < len(self.categories))
            known = np.where(is_known, np.minimum(column, CATEGORIES), -1.0)
            return (known + 1).astype(np.uint8)
        breaks, bin_of = self._breaks
        codes = bin_of[np.searchsorted(breaks, column, side="left")]
        codes[np.isnan(column)] = MISSING
        return codes

    @cached_property
    def _breaks(self) -> tuple[Floats, Codes]:
        """Ascending breaks, and the bin of (break, break]: a special value is an interval of its own."""
        special = {} if np.isnan(self.default) else {np.float32(self.default): DEFAULT}
        special |= {np.float32(atom): DEFAULT + 1 + place for place, atom in enumerate(self.atoms)}
        with np.errstate(over="ignore"):  # below the least number there is -inf
            below = [np.nextafter(value, np.float32(-np.inf)) for value in special]
        edges = np.array(self.edges, np.float32)
        bounds = [np.float32(-np.inf), *special, *below, *edges, np.float32(LARGEST)]
        breaks = np.unique(np.array(bounds, np.float32))
        bins = np.searchsorted(edges, breaks, side="left") + self.special
        for value, place in special.items():
            bins[np.searchsorted(breaks, value)] = place
        bins[0] = MINUS_INFINITY
        return breaks, np.append(bins, PLUS_INFINITY).astype(np.uint8)


def choose_bins(column: Floats, feature: ModelFeature, kind: Kind) -> FeatureBins:
    """Bins for what `column` holds."""
    if feature.categories:
        return FeatureBins(feature.name, feature.origin, kind, np.nan, (), (), (), feature.categories)
    default = np.nan if feature.field.is_text else float(np.float32(feature.field.default))
    return number_bins(column, name=feature.name, origin=feature.origin, kind=kind, default=default)


def number_bins(
    column: Floats, *, name: str, origin: str, kind: Kind, default: float = np.nan
) -> FeatureBins:
    """Atoms and quantiles of the finite values of `column`."""
    finite = column[np.isfinite(column)]
    values, counts = np.unique(finite, return_counts=True)
    frequent = (counts >= ATOM * max(len(column), 1)) & (values != default)
    atoms = values[frequent]
    rest = finite[~np.isin(finite, [*atoms, np.float32(default)])]
    edges = np.empty(0, np.float32)
    if len(rest):
        steps = np.linspace(0, 1, QUANTILES + 1)[1:-1]
        edges = np.unique(np.quantile(rest, steps).astype(np.float32))
    return FeatureBins(
        feature=name,
        origin=origin,
        kind=kind,
        default=default,
        atoms=tuple(atoms.tolist()),
        edges=tuple(edges.tolist()),
        centres=_centres(rest.astype(np.float64), edges),
    )


def _centres(rest: npt.NDArray[np.float64], edges: Floats) -> tuple[float, ...]:
    """An empty bin lies at its upper edge, the last one at its lower."""
    bins = np.searchsorted(edges, rest.astype(np.float32), side="left")
    counts = np.bincount(bins, minlength=len(edges) + 1)
    sums = np.bincount(bins, rest, minlength=len(edges) + 1)
    ends = np.append(edges, edges[-1:] if len(edges) else [0.0]).astype(np.float64)
    return tuple(np.where(counts > 0, sums / np.maximum(counts, 1), ends).tolist())


def kinds(contract: Contract) -> tuple[Kind, ...]:
    """By model column: the keys of its view; what is computed at request time belongs to the pair."""
    by_view = {view.name: kind_of(view.join_keys) for view in contract.views}
    return tuple(by_view.get(feature.origin, Kind.PAIR) for feature in contract.features)


def kind_of(join_keys: Sequence[str]) -> Kind:
    if len(join_keys) != 1:
        return Kind.PAIR
    return {"user_id": Kind.USER, "item_id": Kind.ITEM}.get(join_keys[0], Kind.PAIR)
