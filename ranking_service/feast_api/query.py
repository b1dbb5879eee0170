"""What a Feast request asks for, worked out once from the contracts of the served models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from feature_repo.errors import RequestError
from materialization.data_plane.online.batched_fetch import BatchedFetch, ViewRead
from materialization.data_plane.rows.layout import Layout
from ranking_service.contract import Contract, Field, TransformPlan, ViewPlan
from ranking_service.feast_api.on_demand import OnDemand, inputs_of
from ranking_service.online.packed_reader import keys_of
from ranking_service.online.view_rows import layout_of

MOST_QUERIES = 256
"""Compiled ones that are kept."""
Layouts = dict[tuple[bytes, bytes], tuple[Layout | None, float]]


class UnknownFeatureError(RequestError):
    """A feature service, view or feature that no served model knows."""


@dataclass(frozen=True)
class Stored:
    """A column of the answer that is read."""

    read: str
    """Name of the view's read in `Query.fetch`."""
    view: str
    feature: str


@dataclass(frozen=True)
class Query:
    """How one set of features is answered; columns come in this order, after the entities."""

    fetch: BatchedFetch
    stored: tuple[Stored, ...]
    on_demand: tuple[OnDemand, ...]

    @cached_property
    def join_keys(self) -> tuple[str, ...]:
        """That a request has to give, in order of first use."""
        return tuple(dict.fromkeys(name for read in self.fetch.views for name in read.request_columns))

    @cached_property
    def request_fields(self) -> dict[str, Field]:
        """That a request has to give, by name."""
        return {one.name: one for computed in self.on_demand for one in computed.request_fields}

    def names(self, *, full: bool) -> tuple[str, ...]:
        """Of every column after the join keys."""
        return self._full_names if full else tuple(feature for _, feature in self._columns)

    @cached_property
    def _full_names(self) -> tuple[str, ...]:
        return tuple(f"{view}__{feature}" for view, feature in self._columns)

    @cached_property
    def _columns(self) -> tuple[tuple[str, str], ...]:
        """View and feature."""
        stored = [(column.view, column.feature) for column in self.stored]
        return (*stored, *((one.plan.name, name) for one in self.on_demand for name in one.features))


@dataclass
class Catalogue:
    """Everything that can be asked of some contracts; where several have it, the first counts."""

    contracts: tuple[Contract, ...]
    layouts: Layouts = field(default_factory=dict)
    """Of older definitions, shared by all queries."""
    _queries: dict[tuple[str, ...], Query] = field(default_factory=dict)

    def service(self, name: str) -> Query:
        """All features of a feature service. Raises UnknownFeatureError."""
        return self._query(("", name), lambda: self._of_service(name))

    def features(self, references: Sequence[str]) -> Query:
        """The features of references such as "view:feature". Raises RequestError, UnknownFeatureError."""
        return self._query((*references,), lambda: self._of_references(references))

    def _query(self, key: tuple[str, ...], compiled: Callable[[], Query]) -> Query:
        query = self._queries.get(key)
        if query is None:
            query = compiled()
            if len(self._queries) >= MOST_QUERIES:
                self._queries.pop(next(iter(self._queries)))
            self._queries[key] = query
        return query

    def _of_service(self, name: str) -> Query:
        found = next((one for one in self.contracts if one.service == name), None)
        if found is None:
            known = ", ".join(dict.fromkeys(one.service for one in self.contracts))
            raise UnknownFeatureError(
                "feature_service", f"{name!r} is not what a served model reads; there is {known or 'none'}"
            )
        return _Compiler((found,), self.layouts).query(_references(found))

    def _of_references(self, references: Sequence[str]) -> Query:
        wanted = []
        for reference in references:
            view, colon, feature = reference.partition(":")
            if not (view and colon and feature):
                raise RequestError("features", f'{reference!r} is no reference; write "view:feature"')
            wanted.append((view, feature))
        return _Compiler(self.contracts, self.layouts).query(wanted)


def check_names(query: Query, *, full: bool) -> None:
    """Raises RequestError where two columns of the answer would have one name."""
    names = query.names(full=full)
    if len({*names}) < len(names):
        twice = ", ".join(name for name, count in Counter(names).items() if count > 1)
        raise RequestError(
            "features",
            f"{twice} would stand more than once in the answer; ask once, or with full_feature_names",
        )


@dataclass
class _Compiler:
    contracts: tuple[Contract, ...]
    layouts: Layouts
    reads: dict[str, ViewRead] = field(default_factory=dict)

    def query(self, wanted: Iterable[tuple[str, str]]) -> Query:
        features: dict[str, list[str]] = {}
        for view, feature in wanted:
            features.setdefault(view, []).append(feature)
        stored: list[Stored] = []
        on_demand: list[OnDemand] = []
        for view, names in features.items():
            contract, plan = self._find(view, names)
            if isinstance(plan, TransformPlan):
                on_demand.append(self._on_demand(contract, plan, names))
            else:
                read = self._read(contract, plan)
                stored += [Stored(read, view, name) for name in names]
        return Query(BatchedFetch(tuple(self.reads.values()), self.layouts), tuple(stored), tuple(on_demand))

    def _find(self, view: str, names: Sequence[str]) -> tuple[Contract, ViewPlan | TransformPlan]:
        """In the first contract that has the view with all those features."""
        plans = [
            (contract, plan) for contract in self.contracts for plan in _plans(contract) if plan.name == view
        ]
        for contract, plan in plans:
            if {*names} <= {one.name for one in plan.fields}:
                return contract, plan
        if not plans:
            raise UnknownFeatureError(
                "features", f"no served model reads a view {view!r}; it has {self._views()}"
            )
        known = [one.name for one in plans[0][1].fields]
        unknown = ", ".join(name for name in names if name not in known)
        raise UnknownFeatureError("features", f"view {view} has no {unknown}; it has {', '.join(known)}")

    def _views(self) -> str:
        names = [plan.name for one in self.contracts for plan in _plans(one)]
        return ", ".join(dict.fromkeys(names))

    def _read(self, contract: Contract, view: ViewPlan) -> str:
        """Models may read a view by different definitions."""
        name = f"{self.contracts.index(contract)}:{view.name}"
        if name not in self.reads:
            keys = keys_of(contract, view)
            self.reads[name] = ViewRead(name, keys, layout_of(view), view.join_keys, view.ttl_seconds)
        return name

    def _on_demand(self, contract: Contract, plan: TransformPlan, names: Sequence[str]) -> OnDemand:
        inputs = inputs_of(contract, plan)
        owners = {one.name: view for view in contract.views for one in view.fields}
        return OnDemand(
            plan=plan,
            features=tuple(names),
            stored={name: self._read(contract, owners[name]) for name in inputs if name in owners},
            request_fields=tuple(one for one in contract.request_fields if one.name in inputs),
        )


def _plans(contract: Contract) -> tuple[ViewPlan | TransformPlan, ...]:
    return (*contract.views, *contract.transforms)


def _references(contract: Contract) -> Iterator[tuple[str, str]]:
    for plan in _plans(contract):
        for one in plan.fields:
            if f"{plan.name}:{one.name}" not in contract.left_out:
                yield plan.name, one.name
