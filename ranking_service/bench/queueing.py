"""What waiting alone costs: the same arrivals at an ideal server, in which only the work itself takes time."""

from __future__ import annotations

import heapq

import numpy as np

from ranking_service.bench.load import Times


def ideal_latencies(due: Times, service_seconds: float, servers: int) -> Times:
    """Seconds from when each request is due, in ascending order of `due`, until it is answered.

    One queue in front of `servers` processes, first come, first served, each request taking `service_seconds`: M/D/c
    for Poisson arrivals. Nothing that keeps to this order answers earlier.
    """
    free = [0.0] * servers
    found = np.empty(len(due))
    for number, at in enumerate(due.tolist()):
        end = max(heapq.heappop(free), at) + service_seconds
        heapq.heappush(free, end)
        found[number] = end - at
    return found
