"""Who asks what when: the requests of one simulated day as they reach the servers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from feature_repo.errors import EventDataError
from feature_repo.workspace import Workspace
from materialization.events.store import EventStore
from ranking_service.online.request import RankRequest

LATENCY_SECONDS = 0.004
COLUMNS = (
    "request_id",
    "user_id",
    "item_id",
    "event_timestamp",
    "surface",
    "device",
    "position",
    "session_position",
)


@dataclass(frozen=True)
class Arrival:
    """One request on its way into one server process."""

    request: RankRequest
    received: float
    """Unix seconds by the server's clock."""
    replica: int
    step: int
    """Number of the materialization run whose rows the server reads."""
    server: int = 0
    """Number of the server's build in `Night.servers`."""
    served_id: str | None = None
    """The log's id where it is not the writer's own."""


def requests_of(workspace: Workspace, day: datetime) -> tuple[RankRequest, ...]:
    """What users were shown on that UTC day, asked again; in time order. Raises EventDataError where it is nothing."""
    events = EventStore(workspace.events).read("exposures", COLUMNS)
    seconds = events["event_timestamp"].cast(pa.int64()).to_numpy() / 1e6
    start = day.timestamp()
    chosen = events.filter(pa.array((seconds >= start) & (seconds < start + 86_400)))
    chosen = chosen.sort_by([("request_id", "ascending"), ("position", "ascending")])
    if not len(chosen):
        raise EventDataError(f"nobody was shown anything on {day:%Y-%m-%d}, the day that would be served")
    ids = chosen["request_id"].to_numpy()
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    ends = np.append(starts[1:], len(ids))
    rows = chosen.to_pydict()
    found = [_request(rows, first, end) for first, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return tuple(sorted(found, key=lambda request: request.request_timestamp))


def _request(rows: dict[str, list[object]], first: int, end: int) -> RankRequest:
    at, place = rows["event_timestamp"][first], rows["session_position"][first]
    assert isinstance(at, datetime)
    return RankRequest(
        request_id=str(rows["request_id"][first]),
        user_id=str(rows["user_id"][first]),
        candidate_ids=tuple(dict.fromkeys(str(item) for item in rows["item_id"][first:end])),
        request_timestamp=at.timestamp(),
        surface=str(rows["surface"][first]),
        device=str(rows["device"][first]) if rows["device"][first] else None,
        session_position=place if isinstance(place, int) else None,
    )


def slates_of(
    requests: Sequence[RankRequest], *, count: int, candidates: int, seed: int = 0
) -> tuple[RankRequest, ...]:
    """At most `count` of the requests in time order, filled up to so many candidates with those of other requests.

    Nothing is added where no other items were shown.
    """
    random = np.random.default_rng(seed)
    shown = np.array([item for request in requests for item in request.candidate_ids])
    chosen = np.sort(random.choice(len(requests), min(count, len(requests)), replace=False))
    made = []
    for number in chosen.tolist():
        own = requests[number].candidate_ids
        others = random.choice(shown, 4 * candidates).tolist()
        slate = tuple(dict.fromkeys((*own, *others)))[: max(candidates, len(own))]
        made.append(replace(requests[number], candidate_ids=slate))
    return tuple(made)


def again(
    requests: Sequence[RankRequest], count: int, *, day: datetime, random: np.random.Generator
) -> tuple[RankRequest, ...]:
    """Another day's worth from the same population: drawn with replacement, each at another minute."""
    first, last = day.timestamp(), (day + timedelta(days=1)).timestamp() - 1
    drawn = random.integers(0, len(requests), count)
    moved = random.uniform(-1800, 1800, count)
    made = [
        replace(
            requests[place],
            request_id=f"{requests[place].request_id}-{number}",
            request_timestamp=float(
                np.round(np.clip(requests[place].request_timestamp + by, first, last), 6)
            ),
        )
        for number, (place, by) in enumerate(zip(drawn.tolist(), moved.tolist(), strict=True))
    ]
    return tuple(sorted(made, key=lambda request: request.request_timestamp))
