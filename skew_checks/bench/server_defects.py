"""Defects of the server: its plan, its dictionaries, its reads, its model, one of its processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ranking_service.contract import Contract, Field, ModelFeature
from ranking_service.online.feature_reader import FeatureReader
from ranking_service.online.fetched import Fetched
from skew_checks.bench.night import Night
from skew_checks.bench.offline_defects import new_category
from skew_checks.bench.rows_changed import Touched
from skew_checks.bench.serving import Server

NEW_TYPE = "hologram"


def altered_default(night: Night, share: float, *, name: str = "pair_exposures") -> Touched:
    """The server's plan fills another default than the declared one."""

    def changed(field: Field) -> Field:
        return replace(field, default=5.0) if field.name == name else field

    contract = night.world.bundle.contract
    views = tuple(replace(view, fields=tuple(map(changed, view.fields))) for view in contract.views)
    return _partly(night, share, replace(contract, views=views))


def column_order(
    night: Night, share: float, *, names: tuple[str, str] = ("item_click_rate_7d", "user_click_rate_7d")
) -> Touched:
    """The server's plan has two columns of the model the wrong way round."""
    contract = night.world.bundle.contract
    features = list(contract.features)
    one, other = (contract.feature_names.index(name) for name in names)
    features[one], features[other] = features[other], features[one]
    return _partly(night, share, replace(contract, features=tuple(features)))


def dictionary_off_by_one(night: Night, share: float, *, name: str = "item_first_genre") -> Touched:
    """The server's dictionary has an entry more in front: every code is one too high."""
    return _partly(
        night,
        share,
        _with_feature(
            night.world.bundle.contract,
            name,
            lambda feature: replace(feature, categories=("unknown", *feature.categories)),
        ),
    )


class OtherCodes(dict[str, float]):
    """Codes that have one for every text."""

    def get(self, key: str, default: float = float("nan")) -> float:  # type: ignore[override]
        return super().get(key, 0.0 if key else default)


def unseen_to_other(night: Night, share: float) -> Touched:
    """Some items are of a new type; the server gives it the code of another instead of none."""
    touched = new_category(night, share, NEW_TYPE)

    def with_other(feature: ModelFeature) -> ModelFeature:
        changed = replace(feature)
        changed.__dict__["codes"] = OtherCodes(feature.codes)
        return changed

    contract = _with_feature(night.world.bundle.contract, "item_type", with_other)
    night.served_by(Server(night.world.bundle, contract), range(len(night.arrivals)))
    return touched


class Rotated:
    """A reader that answers for the next candidate."""

    def __init__(self, inner: FeatureReader) -> None:
        self.inner = inner

    async def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float, seconds: float) -> Fetched:
        return await self.inner.fetch(user_id, [*item_ids[1:], item_ids[0]], at=at, seconds=seconds)

    def known(self, user_id: str, item_ids: Sequence[str], *, at: float, reason: str) -> Fetched:
        return self.inner.known(user_id, item_ids, at=at, reason=reason)

    def unread(self, candidates: int, *, reason: str) -> Fetched:
        return self.inner.unread(candidates, reason=reason)

    async def run(self) -> None:
        await self.inner.run()

    async def warm_up(self, seconds: float) -> list[str]:
        return await self.inner.warm_up(seconds)

    async def close(self) -> None:
        await self.inner.close()


class Crossed(Rotated):
    """A reader that answers for the user who asked last, and is another one."""

    def __init__(self, inner: FeatureReader, others: Sequence[str]) -> None:
        """`others`: two different users at least."""
        super().__init__(inner)
        self.others = list(others)

    async def fetch(self, user_id: str, item_ids: Sequence[str], *, at: float, seconds: float) -> Fetched:
        before = [name for name in self.others if name != user_id]
        other, self.others = before[0], [user_id, *before[:1]]
        return await self.inner.fetch(other, item_ids, at=at, seconds=seconds)


def rotated_candidates(night: Night, share: float) -> Touched:
    """Rows come back one candidate further."""
    long = [number for number, arrival in enumerate(night.arrivals) if len(arrival.request.candidate_ids) > 1]
    chosen = night.some(share, long)
    bundle = night.world.bundle
    night.served_by(Server(bundle, bundle.contract, Rotated), chosen)
    return Touched(len(chosen), len(night.arrivals))


def crossed_users(night: Night, share: float) -> Touched:
    """Two requests at once get each other's user."""
    chosen = night.some(share)
    bundle = night.world.bundle
    last = sorted({arrival.request.user_id for arrival in night.arrivals})[-2:]
    night.served_by(Server(bundle, bundle.contract, lambda reader: Crossed(reader, last)), chosen)
    return Touched(len(chosen), len(night.arrivals))


def wrong_model(night: Night, share: float) -> Touched:
    """The server holds another booster than the bundle it names."""
    bundle = night.world.bundle
    other = bundle.booster[: max(1, bundle.booster.num_boosted_rounds() // 3)]
    chosen = night.some(share)
    night.served_by(Server(replace(bundle, booster=other), bundle.contract), chosen)
    return Touched(len(chosen), len(night.arrivals))


def one_bad_replica(night: Night, share: float) -> Touched:
    """One process reads a Redis that hangs two runs behind; that share of requests comes to it."""
    last = max(arrival.replica for arrival in night.arrivals)
    chosen = set(night.some(share))
    others = np.arange(len(night.arrivals)) % last
    night.arrivals = [
        replace(arrival, replica=last, step=max(0, arrival.step - 2))
        if number in chosen
        else replace(arrival, replica=int(others[number]))
        for number, arrival in enumerate(night.arrivals)
    ]
    return Touched(len(chosen), len(night.arrivals))


def _partly(night: Night, share: float, contract: Contract) -> Touched:
    """That share of requests is answered by another plan, in the same processes."""
    chosen = night.some(share)
    night.served_by(Server(night.world.bundle, contract), chosen)
    return Touched(len(chosen), len(night.arrivals))


def _with_feature(contract: Contract, name: str, change: Callable[[ModelFeature], ModelFeature]) -> Contract:
    features = tuple(change(feature) if feature.name == name else feature for feature in contract.features)
    return replace(contract, features=features)
