"""What a worker tells about itself once a second, beside what it counts with each request."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any


def _gauge(name: str, help_text: str) -> Any:
    """A number that goes up and down; workers' numbers are added up."""
    return field(default=0, metadata={"kind": "gauge", "name": name, "help": help_text})


def _count(name: str, help_text: str) -> Any:
    """How often since the worker started; what is told may only grow."""
    return field(default=0, metadata={"kind": "counter", "name": name, "help": help_text})


@dataclass(frozen=True)
class WorkerState:
    """Numbers of one worker, as they stand now. Each field says which metric it becomes."""

    in_flight: int = _gauge("marquee_in_flight_requests", "Requests being answered.")
    queued: int = _gauge("marquee_queued_requests", "Requests that wait for their turn.")
    admission_limit: int = _gauge(
        "marquee_admission_limit_requests", "Requests that may be answered at once."
    )
    breaker_open: int = _gauge("marquee_breaker_open", "Workers that do not ask Redis for now.")
    cache_current: int = _gauge(
        "marquee_cache_channel_up", "Workers whose item cache is kept current by Redis."
    )
    cache_items: int = _gauge("marquee_cache_items", "Item rows in memory.")
    log_queued: int = _gauge(
        "marquee_log_queued_requests", "Requests that wait for the serving log's writer."
    )

    cache_hits: int = _count("marquee_cache_hits_total", "Item rows taken from memory.")
    cache_misses: int = _count("marquee_cache_misses_total", "Item rows that had to be read.")
    cache_invalidations: int = _count("marquee_cache_invalidations_total", "Changed keys that Redis told of.")
    breaker_opened: int = _count("marquee_breaker_opened_total", "Times that Redis was given up for a while.")
    hedges: int = _count("marquee_redis_hedges_total", "Reads sent a second time because the first was slow.")
    redis_failures: int = _count("marquee_redis_failures_total", "Reads that brought nothing in time.")
    browned_out: int = _count(
        "marquee_brownout_answers_total", "Requests answered without the model for want of room to rank."
    )
    admission_refused: int = _count("marquee_admission_refused_total", "Requests refused for want of room.")
    rate_limited: int = _count("marquee_rate_limited_total", "Requests over their caller's share.")
    log_written: int = _count("marquee_log_written_total", "Requests written to the serving log.")
    log_dropped: int = _count("marquee_log_dropped_total", "Requests that the serving log lost.")
    log_unsampled: int = _count("marquee_log_unsampled_total", "Requests of users outside the log's sample.")
    shadow_scored: int = _count("marquee_shadow_scored_total", "Requests scored by the shadow bundle, too.")
    shadow_dropped: int = _count(
        "marquee_shadow_dropped_total", "Requests the shadow bundle had no time for."
    )
    swaps: int = _count("marquee_bundle_swaps_total", "Bundles taken into service while running.")
    swap_failures: int = _count(
        "marquee_bundle_swap_failures_total", "Bundles refused; the one before stayed."
    )


GAUGES = tuple(entry for entry in fields(WorkerState) if entry.metadata["kind"] == "gauge")
COUNTERS = tuple(entry for entry in fields(WorkerState) if entry.metadata["kind"] == "counter")
