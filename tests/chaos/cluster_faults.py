"""Redis Cluster, three primaries and a replica: a slot moves, a primary dies."""

from __future__ import annotations

from materialization.data_plane.rows.keys import ViewKeys, text_entities

from .canary import CONTRACT, ITEM, USER
from .scenario import Goals, Scenario, Step
from .stage import Stage

CALLS_PER_SECOND = 15.0
"""At 60 % of capacity the goals are not met every time; see docs/chaos.md."""


def _move_slots(stage: Stage) -> None:
    """The slots of some users' and items' rows, from the first primary to the third."""
    assert stage.cluster is not None, "the scenario asked for no cluster"
    keys = []
    for view, ids in (
        (USER, [stage.world.user_id(user) for user in range(0, stage.world.users, 2)]),
        (ITEM, [stage.world.item_id(item) for item in range(0, stage.world.items, 10)]),
    ):
        named = ViewKeys(CONTRACT.project, view, CONTRACT.view(view).join_keys)
        keys += [named.key([entity]) for entity in text_entities(ids)]
    moved = stage.cluster.move_slots_of(keys, source=0, target=2)
    stage.notes.append(f"{moved} slots moved")


MOVED = Scenario(
    name="cluster-slots",
    what="slots of 50 users and 100 items move to another node, live",
    seconds=16,
    steps=(Step(3, _move_slots),),
    is_cluster=True,
    rate=CALLS_PER_SECOND,
)
FAILOVER = Scenario(
    name="cluster-failover",
    what="a primary SIGKILLed; its replica takes over by itself",
    seconds=26,
    steps=(Step(3, lambda stage: stage.nodes[0].kill()),),
    is_cluster=True,
    rate=CALLS_PER_SECOND,
    goals=Goals(recovery_seconds=15.0),
)

SCENARIOS = (MOVED, FAILOVER)
