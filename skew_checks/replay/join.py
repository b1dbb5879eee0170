"""The serving log's requests through the ordinary training join.

What was served must be judged by something that serving did not make. The values come from the training join
over the registered views. The way from values to the model's matrix (defaults, order of the transforms, type
of every field) comes from the registry as it is now, not from the bundle's plan, which serving used. Only two
things are the model's own and are taken from the bundle: its category dictionaries, and the names of its
columns in the order in which the booster itself has them. So an altered default and two swapped columns of
the plan show, although serving and its plan agree with each other perfectly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
from feast import FeatureStore

from feature_repo.errors import BundleError
from ranking_service.bundle import Bundle
from ranking_service.compile_contract import compile_contract
from ranking_service.contract import Contract, ViewPlan
from ranking_service.training_join import training_join
from skew_checks.replay.served import Segment, Served

USER = ("user_id",)


@dataclass(frozen=True)
class Replayed:
    """One bundle's served rows, and what the training join gives for the same."""

    bundle: Bundle
    contract: Contract
    """By which to judge; its features are the booster's columns in the booster's order."""
    segments: tuple[Segment, ...]
    joined: pa.Table
    """A row per candidate, the segments' one after the other: ids, request fields, every stored feature."""

    def parts(self) -> Iterator[tuple[Served, int]]:
        """Each segment, and the row of `joined` at which it starts."""
        start = 0
        for segment in self.segments:
            served = segment.read()
            yield served, start
            start += len(served.request)


def replay(store: FeatureStore, bundle: Bundle, segments: tuple[Segment, ...]) -> Replayed:
    """One training join for all `segments`, which `bundle` served."""
    contract = judging_contract(store, bundle)
    asked = [field.name for field in bundle.contract.request_fields]
    rows = pa.concat_tables([segment.keys(asked) for segment in segments], promote_options="default")
    joined = training_join(store, contract, _with_absent_fields(rows, contract))
    return Replayed(bundle, contract, segments, joined)


@dataclass(frozen=True)
class OfflinePart:
    """What the training join gives for one part of the log."""

    requests: pa.Table
    """A row per request: user_id, request fields, every stored feature of the user."""
    candidates: pa.Table
    """A row per candidate: both ids, `request_timestamp`, every stored feature of items and pairs."""


def replay_part(store: FeatureStore, bundle: Bundle, contract: Contract, served: Served) -> OfflinePart:
    """One part through the training join: what is the same for all candidates of a request is joined once."""
    asked = [field.name for field in bundle.contract.request_fields]
    requests = served.requests.select(["user_id", *asked])
    items = served.candidates["item_id"]
    firsts = items.take(pa.array(served.first))
    of_users = _with_absent_fields(requests.add_column(1, "item_id", firsts), contract)
    rows = of_users.select(["user_id", "request_timestamp"]).take(pa.array(served.request))
    of_rows = rows.add_column(1, "item_id", items)
    by_user: dict[bool, list[ViewPlan]] = {True: [], False: []}
    for view in contract.views:
        by_user[view.join_keys == USER].append(view)
    return OfflinePart(
        _joined(store, replace(contract, views=tuple(by_user[True])), of_users).drop_columns(["item_id"]),
        _joined(store, replace(contract, views=tuple(by_user[False])), of_rows),
    )


def _joined(store: FeatureStore, contract: Contract, rows: pa.Table) -> pa.Table:
    return training_join(store, contract, rows) if contract.views else rows


def _with_absent_fields(rows: pa.Table, contract: Contract) -> pa.Table:
    """Request fields that the bundle did not know are missing."""
    for field in contract.request_fields:
        if field.name not in rows.column_names:
            kind = pa.string() if field.is_text else pa.float64()
            rows = rows.append_column(field.name, pa.nulls(len(rows), kind))
    return rows


def judging_contract(store: FeatureStore, bundle: Bundle) -> Contract:
    """The registry's contract for the columns of the bundle's booster.

    Raises BundleError when the booster reads a feature that no registered view has.
    """
    registered = compile_contract(store, bundle.contract.service)
    known = {feature.name: feature for feature in registered.features}
    trained = {feature.name: feature.categories for feature in bundle.contract.features}
    names = tuple(bundle.booster.feature_names or bundle.contract.feature_names)
    gone = [name for name in names if name not in known]
    if gone:
        raise BundleError(
            f"bundle {bundle.version} reads {', '.join(gone)}, which the registered service "
            f"{bundle.contract.service} does not have; restore them or retrain with `marquee model train`"
        )
    features = tuple(replace(known[name], categories=trained.get(name, ())) for name in names)
    return replace(registered, features=features)


def declared_differences(bundle: Bundle, contract: Contract) -> tuple[str, ...]:
    """What the registry declares differently from the bundle's plan, one sentence each."""
    served = {field.name: field for view in bundle.contract.views for field in view.fields}
    served |= {field.name: field for plan in bundle.contract.transforms for field in plan.fields}
    served |= {field.name: field for field in bundle.contract.request_fields}
    now = [field for view in contract.views for field in view.fields]
    now += [field for plan in contract.transforms for field in plan.fields] + list(contract.request_fields)
    sentences = [
        f"default of {field.name}: bundle {bundle.version} has {served[field.name].default!r}, the registry "
        f"{field.default!r}"
        for field in now
        if field.name in served and str(served[field.name].default) != str(field.default)
    ]
    changed = changed_views(bundle, contract)
    if changed:
        listed = ", ".join(changed)
        sentences.append(f"declaration or SQL changed since bundle {bundle.version} was trained: {listed}")
    return tuple(sentences)


def changed_views(bundle: Bundle, contract: Contract) -> tuple[str, ...]:
    """Stored views whose declaration or SQL is not what it was at training."""
    trained = {view.name: view.fingerprint for view in bundle.contract.views}
    return tuple(
        view.name for view in contract.views if trained.get(view.name, view.fingerprint) != view.fingerprint
    )
