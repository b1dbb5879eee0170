"""Which connection a call takes: several servers, several connections to each, those that fail left out for a while.

Each lane is one gRPC channel with gRPC's own round_robin over the addresses that its DNS name has; the choice between
lanes is made here, because a channel takes one name only, and because channels to one address (several worker
processes behind one port) are the same to gRPC. The kernel deals connections out to such processes by chance; an answer
says which one it came from, and calls go to the process with the fewest unanswered ones.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from feature_repo.errors import SettingError

TARGET_SCHEMES = ("unix:", "unix-abstract:", "dns:", "ipv4:", "ipv6:", "xds:")
LONGEST_REST_SECONDS = 2.0
SHORTEST_REST_SECONDS = 0.1
SLOW_CALLS = 3
"""So many calls in a row that ran into their deadline count as a failure."""
CHANNEL_OPTIONS: tuple[tuple[str, int | str], ...] = (
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.enable_retries", 0),
)
"""The minimum is what gRPC allows a connection to take; a server that comes back is found within some 2 s.

gRPC's retries are off. The client has its own; and with them on, which is the default even without a policy, a call may
hang until its deadline when the server ends just then, without any connection left (grpcio 1.85.1, bare client and
server: 14 times in 5,300 stops under load; never in 5,200 with retries off).
"""


@dataclass(eq=False)
class Lane:
    """One connection's state; its channel is kept by whoever made it, at the same place."""

    place: int
    address: str
    worker: int | None = None
    """The server's process that it reaches, as far as an answer has told."""
    in_flight: int = 0
    failures: int = 0
    """In a row."""
    slow: int = 0
    """In a row."""
    rest_until: float = 0.0
    last_used: int = 0

    @property
    def process(self) -> tuple[str, int]:
        """What lanes that reach the same process have in common; as long as nothing is known, each has its own."""
        return self.address, -1 - self.place if self.worker is None else self.worker

    @property
    def target(self) -> str:
        """As gRPC names it."""
        return self.address if self.address.startswith(TARGET_SCHEMES) else f"dns:///{self.address}"


@dataclass
class Lanes:
    """All connections; thread-safe. Times are the clock's seconds."""

    lanes: tuple[Lane, ...]
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _uses: int = 0

    @classmethod
    def to(cls, addresses: Sequence[str], connections: int) -> Lanes:
        places = [address for _ in range(connections) for address in addresses]
        return cls(tuple(Lane(place, address) for place, address in enumerate(places)))

    def take(self, now: float, avoid: Lane | None = None) -> Lane:
        """Of lanes that do not rest, one to the process with the fewest unanswered calls; of equals the longest unused.

        `avoid` is where the call has just failed. When all rest, the one that is to be tried next.
        """
        with self._lock:
            awake = [lane for lane in self.lanes if lane.rest_until <= now]
            if avoid is not None:
                elsewhere = [lane for lane in awake if lane.process != avoid.process]
                awake = elsewhere or [lane for lane in awake if lane is not avoid] or awake
            if awake:
                lane = min(awake, key=self._order())
            else:
                lane = min(self.lanes, key=lambda lane: (lane.rest_until, lane.last_used))
            if lane.failures:
                lane.rest_until = now + _rest(lane)  # one call tries it, the others wait for how that goes
            self._uses += 1
            lane.last_used = self._uses
            lane.in_flight += 1
            return lane

    def others_awake(self, now: float, lane: Lane | None) -> bool:
        """Whether a lane but this one does not rest."""
        return any(other.rest_until <= now for other in self.lanes if other is not lane)

    def answered(self, lane: Lane) -> None:
        """By a ranking or an error that says that the server works."""
        with self._lock:
            lane.in_flight -= 1
            lane.failures, lane.slow, lane.rest_until = 0, 0, 0.0

    def reaches(self, lane: Lane, worker: int) -> None:
        """An answer came from that process of the lane's server."""
        with self._lock:
            lane.worker = worker

    def without_room(self, lane: Lane, now: float) -> None:
        """It answered, but could not rank: others come first for a moment, for quick answers would attract calls."""
        with self._lock:
            for one in self.lanes:
                if one.process == lane.process:
                    one.rest_until = max(one.rest_until, now + SHORTEST_REST_SECONDS)

    def failed(self, lane: Lane, now: float) -> None:
        """There is no server, or one that cannot answer."""
        with self._lock:
            lane.in_flight -= 1
            lane.failures += 1
            lane.rest_until = now + _rest(lane)
            lane.worker = None  # the next connection may reach another one

    def overran(self, lane: Lane, now: float) -> None:
        """The deadline came first; `SLOW_CALLS` in a row are a failure."""
        with self._lock:
            lane.slow += 1
            slow = lane.slow
        if slow >= SLOW_CALLS:
            self.failed(lane, now)
        else:
            self.left(lane)

    def left(self, lane: Lane) -> None:
        """The call ended without telling anything about the server."""
        with self._lock:
            lane.in_flight -= 1

    def _order(self) -> Callable[[Lane], tuple[int, ...]]:
        """What lanes are chosen by; the least comes first."""
        unanswered: Counter[tuple[str, int]] = Counter()
        used: dict[tuple[str, int], int] = {}
        for lane in self.lanes:
            unanswered[lane.process] += lane.in_flight
            used[lane.process] = max(used.get(lane.process, 0), lane.last_used)
        return lambda lane: (
            unanswered[lane.process],
            used[lane.process],
            lane.in_flight,
            lane.last_used,
        )


def _rest(lane: Lane) -> float:
    doubled: float = SHORTEST_REST_SECONDS * 2 ** min(lane.failures, 10)
    return min(doubled, LONGEST_REST_SECONDS)


def addresses(text: str) -> tuple[str, ...]:
    """The servers named by "host:port,host:port", or the one target with a scheme that gRPC knows.

    gRPC itself takes a port modulo 65536, and an address without one as port 443: SettingError here.
    """
    if text.startswith(TARGET_SCHEMES):
        return (text,)
    found = tuple(entry.strip() for entry in text.split(","))
    for entry in found:
        host, _, port = entry.rpartition(":")
        if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 2**16:
            raise SettingError(
                f"address {entry!r} is not host:port, such as 127.0.0.1:50051; several are separated by commas"
            )
    if len(set(found)) < len(found):
        raise SettingError(f"{text!r} names a server twice; for more connections to each say connections=2")
    return found
