"""The benchmark measures every part of a request and its floor in one run."""

from __future__ import annotations

from pathlib import Path

from ranking_service.bench.rank import BARE, EMPTY, RANK, RAW, STOCK, measure
from ranking_service.bench.world import Size, make_world


def test_a_small_run_times_the_call_its_stages_and_the_floors(redis_url: str, tmp_path: Path) -> None:
    size = Size(candidates=5, user_features=2, item_features=2, pair_features=2, trees=2, depth=2)
    world = make_world(tmp_path, redis_url, size)
    result = measure(world, redis_url=redis_url, rounds=21, log=True)
    times = {timing.name: timing.times for timing in result.timings}
    assert times[RANK] == times["Rank: fetch"] == times[EMPTY] == times[RAW] == times[BARE] == 21
    assert times[STOCK] == 2
    assert result.floor_ms > 0
    assert result.to_json()["setting"]["features"] == 6
    assert list((tmp_path / "serving_log" / "requests").glob("*.parquet"))
