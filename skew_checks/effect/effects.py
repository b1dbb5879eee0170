"""The effect of each suspicious feature, on a sample of the logged requests that it touches."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.dataset import dataset, field

from feature_repo.frames import columns_from_table
from feature_repo.workspace import Workspace
from materialization.events.store import EventStore, reading
from ranking_service.bundle import Bundle
from ranking_service.models.paired import KEYS
from ranking_service.models.replayed import logged_columns
from skew_checks.effect.corrected import Rows
from skew_checks.effect.rescoring import Slate, effect
from skew_checks.replay.join import Replayed
from skew_checks.replay.served import Segment, Served
from skew_checks.result.parts import Effect

REQUESTS_EACH, REQUESTS_IN_ALL = 100, 1_000
"""That many are scored again at most, for one suspect and for all."""

Floats = npt.NDArray[np.float64]
Replay = Callable[[tuple[Segment, ...]], Replayed]
"""Segments of one bundle through the training join."""


@dataclass(frozen=True)
class Suspect:
    """What to put right, and where."""

    stored: tuple[str, ...]
    """Stored features whose served values are wrong."""
    columns: tuple[str, ...]
    """Columns of the model that are wrong although the stored values are right."""
    touched: Collection[str]
    """`served_id` of each request in which one of them differs."""


def effects(
    workspace: Workspace,
    replayed: Replayed,
    suspects: Sequence[Suspect],
    *,
    judged: int,
    replay: Replay,
) -> list[Effect | None]:
    """One for each suspect of the bundle in `replayed`, in order; None where no request is left to score.

    `judged` counts all requests of the check. Outcomes come from the workspace's events, where they have them.
    """
    most = max(1, min(REQUESTS_EACH, REQUESTS_IN_ALL // max(len(suspects), 1)))
    chosen = [some(suspect.touched, most) for suspect in suspects]
    wanted = set().union(*chosen)
    if not wanted:
        return [None] * len(suspects)
    again = replay(only(replayed.segments, wanted))
    outcomes = _outcomes(workspace, replayed.bundle, again.segments)
    slates: list[list[Slate]] = [[] for _ in suspects]
    for served, start in again.parts():
        rows, bounds = _rows(again, served, start), bounds_of(served)
        outcome = _of_rows(served, outcomes)
        for suspect, ids, found in zip(suspects, chosen, slates, strict=True):
            mine = {served_id: place for served_id, place in bounds.items() if served_id in ids}
            if mine:
                right = rows.corrected(suspect.stored, suspect.columns)
                found += [Slate(rows.served[at], right[at], outcome[at]) for at in mine.values()]
    score = replayed.bundle.booster.inplace_predict
    return [
        effect(score, found, touched=len(suspect.touched), judged=judged)
        for suspect, found in zip(suspects, slates, strict=True)
    ]


def some(served_ids: Iterable[str], most: int) -> frozenset[str]:
    """Those with the smallest hashes: always the same ones, and no part of the window before another."""
    return frozenset(sorted(served_ids, key=lambda one: (zlib.crc32(one.encode()), one))[:most])


def only(segments: Iterable[Segment], wanted: Collection[str]) -> tuple[Segment, ...]:
    ids = pa.array(sorted(wanted))
    chosen = (replace(one, head=one.head.filter(pc.is_in(one.head["served_id"], ids))) for one in segments)
    return tuple(one for one in chosen if len(one.head))


def _rows(again: Replayed, served: Served, start: int) -> Rows:
    logged, _ = logged_columns(again.contract, served.requests, served.candidates, served.request)
    offline = columns_from_table(again.joined.slice(start, len(served.request)))
    return Rows(again.contract, served.model_input, logged, offline)


def bounds_of(served: Served) -> dict[str, npt.NDArray[np.int64]]:
    """Rows of each request's candidates, by `served_id`."""
    order = np.argsort(served.request, kind="stable")
    ends = np.cumsum(np.bincount(served.request, minlength=len(served.requests)))
    groups = np.split(order, ends[:-1])
    return dict(zip(served.requests["served_id"].to_pylist(), groups, strict=True))


def _outcomes(
    workspace: Workspace, bundle: Bundle, segments: Iterable[Segment]
) -> Mapping[tuple[str, ...], float]:
    """0 or 1 by (request, user, item), of the label the bundle was trained on; empty where there are none."""
    label = bundle.manifest.get("label")
    if label is None or not workspace.events.exists():
        return {}
    asked = pa.concat_tables([one.head.select(["request_id"]) for one in segments])["request_id"]
    store = EventStore(workspace.events)
    with reading(store.root):
        exposures = dataset([str(file) for file in store.files("exposures")], format="parquet")
        shown = exposures.to_table([*KEYS, label], filter=field("request_id").isin(asked.combine_chunks()))
    keys = zip(*(shown[name].to_pylist() for name in KEYS), strict=True)
    values = shown[label].cast(pa.float64()).to_pylist()
    return {key: value for key, value in zip(keys, values, strict=True) if value is not None}


def _of_rows(served: Served, outcomes: Mapping[tuple[str, ...], float]) -> Floats:
    """float64 [candidates]; NaN where nothing is known."""
    if not outcomes:
        return np.full(len(served.request), np.nan)
    ids = served.requests.select(["request_id", "user_id"]).take(pa.array(served.request))
    items = served.candidates["item_id"].to_pylist()
    keys = zip(ids["request_id"].to_pylist(), ids["user_id"].to_pylist(), items, strict=True)
    return np.array([outcomes.get(key, np.nan) for key in keys], np.float64)
