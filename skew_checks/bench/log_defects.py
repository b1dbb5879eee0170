"""Defects of the serving log, and of the times that requests say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ranking_service.serving_log.places import closed_segments
from skew_checks.bench.night import Night
from skew_checks.bench.rows_changed import Touched

HOUR = 3600.0


def duplicated_log_rows(night: Night, share: float) -> Touched:
    """A batch was shipped twice: some requests stand in their segment twice, candidates and all."""
    chosen = {night.arrivals[number].request.request_id for number in night.some(share)}

    def ship_again() -> None:
        for segment in closed_segments(night.workspace.serving_log):
            requests = _read(segment.requests)
            again = requests.filter(pc.is_in(requests["request_id"], pa.array(sorted(chosen))))
            if not len(again):
                continue
            candidates = _read(segment.candidates)
            same = pc.is_in(candidates["served_id"], again["served_id"].combine_chunks())
            _write(pa.concat_tables([requests, again]), segment.requests)
            _write(pa.concat_tables([candidates, candidates.filter(same)]), segment.candidates)

    night.after.append(ship_again)
    return Touched(len(chosen), len(night.arrivals))


def colliding_row_ids(night: Night, share: float) -> Touched:
    """The writer gives two requests of a process the same row id."""
    chosen = night.some(share / 2)
    touched = 0
    for number in chosen:
        twin = next(
            (
                other
                for other in range(number + 1, len(night.arrivals))
                if night.arrivals[other].replica == night.arrivals[number].replica
                and night.arrivals[other].request.user_id != night.arrivals[number].request.user_id
                and night.arrivals[other].served_id is None
            ),
            None,
        )
        if twin is None or night.arrivals[number].served_id is not None:
            continue
        same = f"{number:016x}{0:016x}"
        for place in (number, twin):
            night.arrivals[place] = replace(night.arrivals[place], served_id=same)
        touched += 2
    return Touched(touched, len(night.arrivals))


def daylight_saving(night: Night, share: float) -> Touched:
    """Some callers' clocks are an hour ahead: the time a request says is not the time it came."""
    chosen = night.some(share)
    for number in chosen:
        arrival = night.arrivals[number]
        ahead = replace(arrival.request, request_timestamp=arrival.request.request_timestamp + HOUR)
        night.arrivals[number] = replace(arrival, request=ahead)
    return Touched(len(chosen), len(night.arrivals))


def _read(path: Path) -> pa.Table:
    return pq.read_table(path, partitioning=None)


def _write(table: pa.Table, path: Path) -> None:
    """As the log itself writes."""
    pq.write_table(table, path, compression="lz4", store_schema=False)
