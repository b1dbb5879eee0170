"""Model changes under load against a real server. MARQUEE_LONG_TESTS=1 makes it a hundred of each kind."""

from __future__ import annotations

import os

import pytest
from online_world import OnlineWorld
from swap_storm import swap_storm

IS_LONG = bool(os.environ.get("MARQUEE_LONG_TESTS"))


@pytest.mark.parametrize(("by_promotion", "count"), [(False, 20), (True, 2)], ids=["switched", "promoted"])
@pytest.mark.timeout(1200)
def test_no_request_fails_and_every_answer_is_that_of_the_bundle_it_names(
    online_world: OnlineWorld, by_promotion: bool, count: int
) -> None:
    wanted = 100 if IS_LONG else count
    storm = swap_storm(online_world, wanted, by_promotion=by_promotion)
    print(storm.swaps, dict(storm.answers), f"slowest {storm.slowest_seconds:.3f} s")
    assert (storm.failures[:3], storm.wrong[:3]) == ([], [])
    assert storm.swaps == wanted
    assert set(storm.answers) == {"v1", "v2", "v3"}
