"""What happened: one draw from the truth per exposure, and the exposures as a canonical table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from materialization.simulator.audience import DEVICES
from materialization.simulator.catalogue import Catalogue, Indices
from materialization.simulator.clock import SECOND
from materialization.simulator.profiles import COUNTRY_CODES, pick, times
from materialization.simulator.slates import Slates
from materialization.simulator.taste import Shown, Truth
from materialization.simulator.visits import SURFACES, Requests

LABEL = "completed"
EXPERIMENT = "slate_order"
ARMS = ("ranked", "shuffled")
NOTICED_AFTER = 60 * SECOND
"""How long after an exposure the service takes it as passed over."""
LONG_VIEW_MS = 20 * 60_000

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """Arrays with one row per exposure."""

    click: Flags
    completed: Flags
    """Watched at least 92 % of the length."""
    long_view: Flags
    """Watched half of the length, or 20 minutes."""
    play_ms: Indices
    reactions: dict[str, Flags]


def draw(rng: np.random.Generator, shown: Shown, truth: Truth, catalogue: Catalogue) -> Outcomes:
    """One outcome per exposure."""
    count = len(shown.item)
    click = rng.random(count) < truth.click
    completed = click & (rng.random(count) < truth.staying)
    duration = catalogue.duration_ms[shown.item]
    share = np.where(completed, rng.uniform(0.92, 1.03, size=count), 0.9 * rng.beta(0.9, 1.8, size=count))
    play_ms = np.where(click, share * duration, 0).astype(np.int64)
    long_view = completed | (click & ((play_ms >= 0.5 * duration) | (play_ms >= LONG_VIEW_MS)))
    liking = 1.0 / (1.0 + np.exp(2.0 - truth.match))
    chance = {
        "like": 0.8 * liking * long_view,
        "follow": 0.08 * liking * completed,
        "comment": 0.012 * click,
        "share": 0.05 * liking * long_view,
        "hide": 0.006 * (1.0 - liking) * ~long_view,
        "profile_visit": 0.06 * liking * click,
    }
    reactions = {name: rng.random(count) < probability for name, probability in chance.items()}
    return Outcomes(click, completed, long_view, play_ms, reactions)


def exposures_table(
    rng: np.random.Generator,
    requests: Requests,
    slates: Slates,
    outcomes: Outcomes,
    *,
    catalogue: Catalogue,
    shuffled: Flags,
    ids: tuple[pa.Array, pa.Array],
) -> pa.Table:
    """The exposures in time order. `ids`: of the users, of the items. `shuffled`: by request."""
    row, user_ids, item_ids = slates.request, ids[0], ids[1]
    shown_at = requests.time[row]
    start = (rng.uniform(1.0, 40.0, size=len(row)) * SECOND).astype(np.int64)
    known = shown_at + np.where(outcomes.click, start + outcomes.play_ms * 1000, NOTICED_AFTER)
    user = user_ids.take(pa.array(requests.user))
    request_id, session_id = (_numbered(user, time) for time in (requests.time, requests.session_start))
    return pa.table(
        {
            "exposure_id": _numbered(request_id.take(pa.array(row)), slates.position),
            "request_id": request_id.take(pa.array(row)),
            "user_id": user.take(pa.array(row)),
            "item_id": item_ids.take(pa.array(slates.item)),
            "event_timestamp": times(shown_at),
            "created_timestamp": times(known),
            "surface": pick(SURFACES, requests.surface[row]),
            "device": pick(DEVICES, requests.device[row]),
            "country": pick(COUNTRY_CODES, requests.country[row]),
            "position": slates.position.astype(np.int32),
            "session_id": session_id.take(pa.array(row)),
            "session_position": pa.array(_shown_before(requests, slates)[row], pa.int32()),
            "click": outcomes.click,
            "long_view": outcomes.long_view,
            "completed": outcomes.completed,
            **outcomes.reactions,
            "play_ms": outcomes.play_ms,
            "duration_ms": catalogue.duration_ms[slates.item],
            "experiment": pa.repeat(EXPERIMENT, len(row)),
            "variant": pick(ARMS, shuffled[row].astype(np.int64)),
            "propensity": slates.propensity.astype(np.float32),
        }
    )


def truth_table(exposure_ids: pa.ChunkedArray, truth: Truth) -> pa.Table:
    """What the simulator knows of each exposure."""
    return pa.table(
        {
            "exposure_id": exposure_ids,
            "label": pa.repeat(LABEL, len(exposure_ids)),
            "probability": truth.completed,
            "appeal": truth.completed_if_first,
        }
    )


def _numbered(names: pa.Array, numbers: Indices) -> pa.Array:
    """`name-number`; times are written in milliseconds."""
    whole = numbers // 1000 if numbers.size and numbers.max() > 10**12 else numbers
    return pc.binary_join_element_wise(names, pa.array(whole).cast(pa.string()), "-")


def _shown_before(requests: Requests, slates: Slates) -> Indices:
    """[requests]: exposures of the same session at earlier requests."""
    length = np.bincount(slates.request, minlength=len(requests))
    order = np.lexsort((requests.time, requests.session_start, requests.user))
    before = np.cumsum(length[order]) - length[order]
    user, start = requests.user[order], requests.session_start[order]
    first = np.ones(len(order), bool)
    first[1:] = (user[1:] != user[:-1]) | (start[1:] != start[:-1])
    base = np.maximum.accumulate(np.where(first, before, 0))
    result = np.empty(len(order), np.int64)
    result[order] = before - base
    return result
