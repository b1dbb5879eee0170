"""Reads of a Redis Cluster on an event loop: every key from the node that has it, whatever becomes of the nodes."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from async_redis import Caller, Command, bulk, endpoint, obey, scripted
from chaos.redis_node import RedisCluster, running_cluster
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_servers import free_port, running

from feature_repo.errors import OnlineStoreError, SettingError
from materialization.data_plane.online.cluster_pipelined import PipelinedClusterLink
from materialization.data_plane.online.connection import ConnectionSettings, RedisConnections
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.link import ClusterLink, command
from materialization.data_plane.online.pipelined import PipelinedLink
from materialization.data_plane.online.redis_address import Address
from materialization.data_plane.online.slot_map import SLOTS, Redirection, SlotMap, slots_of
from ranking_service.online.feature_reader import RedisPlace
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import RedisSettings

ACL = Path(__file__).resolve().parent.parent / "docs/deploy/redis-acl.conf"
IDS = st.text(alphabet="{}ab1é", max_size=5).map(str.encode)
"""Braces say what part of a key its slot is made of."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    """Three primaries; the first has a replica."""
    with running_cluster(tmp_path_factory.mktemp("cluster") / "nodes") as nodes:
        yield nodes


@pytest.fixture
def stock(cluster: RedisCluster) -> ClusterLink:
    """The client library's own way of reading; its client writes."""
    address = f"127.0.0.1:{cluster.nodes[0].port}"
    made = RedisConnections(ConnectionSettings(address, "redis_cluster", command_seconds=5)).link()
    assert isinstance(made, ClusterLink)
    return made


@contextmanager
def linked(*ports: int, **options: Any) -> Iterator[tuple[PipelinedClusterLink, Callable[..., Any]]]:
    """A link, and what runs coroutines on its event loop."""

    def bounded(story: Coroutine[Any, Any, Any]) -> Any:
        return runner.run(asyncio.wait_for(story, 40))

    with asyncio.Runner() as runner:
        hosts = tuple(("127.0.0.1", port) for port in ports)
        link = PipelinedClusterLink(Endpoint(Address(hosts, {"db": 0}), 1.0), **options)
        try:
            yield link, bounded
        finally:
            bounded(link.close())


def filled(client: Any, keys: Sequence[bytes]) -> None:
    """Each key says its own name."""
    for key in keys:
        client.set(key, b"of " + key)


def values(keys: Sequence[bytes]) -> list[bytes]:
    return [b"of " + key for key in keys]


@given(st.lists(st.one_of(st.binary(max_size=12), IDS), max_size=30))
@settings(max_examples=40, deadline=None)
def test_slots_are_those_that_redis_computes(cluster: RedisCluster, keys: list[bytes]) -> None:
    client = cluster.nodes[1].admin()
    assert slots_of(keys) == [client.execute_command("CLUSTER", "KEYSLOT", key) for key in keys]


def test_rows_are_those_that_the_client_library_reads(cluster: RedisCluster, stock: ClusterLink) -> None:
    entities = st.lists(IDS, max_size=12)
    hashes = st.lists(st.tuples(IDS, st.lists(IDS, min_size=1, max_size=6)), max_size=3)
    with linked(cluster.nodes[1].port) as (link, run):

        @given(entities, hashes, st.randoms(use_true_random=False))
        @settings(max_examples=60, deadline=None)
        def rows_agree(ids: list[bytes], pairs: list[tuple[bytes, list[bytes]]], dice: random.Random) -> None:
            strings = [b"row:" + one for one in ids]
            reads = [(b"pair:" + key, fields) for key, fields in pairs]
            for key in strings:
                stock.client.set(key, dice.randbytes(9)) if dice.random() < 0.6 else stock.client.delete(key)
            for key, fields in reads:
                stock.client.hset(key, dice.choice(fields), dice.randbytes(9))
            assert run(link.read(strings, reads, seconds=5)) == stock.read(strings, reads)
            for key, _ in reads:
                assert run(link.fields(key, seconds=5)) == stock.fields(key)

        rows_agree()


def test_forty_reads_at_once_each_get_their_own_rows(cluster: RedisCluster, stock: ClusterLink) -> None:
    keys = [b"many:%d" % number for number in range(400)]
    filled(stock.client, keys)

    async def one(link: PipelinedClusterLink, dice: random.Random) -> None:
        wanted = dice.choices(keys, k=dice.randint(1, 200))
        assert await link.read(wanted, [], seconds=20) == values(wanted)

    async def story(link: PipelinedClusterLink) -> None:
        for seed in range(3):
            await asyncio.gather(*(one(link, random.Random(40 * seed + number)) for number in range(40)))
        assert link.counts.opened <= 3 * 2
        assert link.counts.failed == 0

    with linked(cluster.nodes[0].port) as (link, run):
        run(story(link))


def test_keys_are_found_on_all_nodes(cluster: RedisCluster, stock: ClusterLink) -> None:
    keys = [b"found:%d" % number for number in range(300)]
    filled(stock.client, keys)

    async def found(link: PipelinedClusterLink, most: int) -> list[bytes]:
        until = asyncio.get_running_loop().time() + 20
        return await link.keys(b"found:*", most=most, until=until)

    with linked(cluster.nodes[0].port) as (link, run):
        assert sorted(run(found(link, 10_000))) == sorted(keys)
        some = run(found(link, 30))
        assert len(some) == 30
        assert len({owner_of(link, key) for key in some}) == 3


def owner_of(link: PipelinedClusterLink, key: bytes) -> Any:
    assert link.nodes.map is not None
    return link.nodes.map.owners[slots_of([key])[0]]


def test_a_slot_half_moved_and_then_moved_loses_no_key(cluster: RedisCluster, stock: ClusterLink) -> None:
    keys = [b"{a}%d" % number for number in range(40)]
    others = [b"elsewhere:%d" % number for number in range(40)]
    filled(stock.client, [*keys, *others])
    wanted, expected = [*keys, b"{a}none", *others], [*values(keys), None, *values(others)]
    (slot,) = set(slots_of(keys))
    source, target = cluster.nodes[slot * 3 // SLOTS], cluster.nodes[(slot * 3 // SLOTS + 1) % 3]
    ids = [one.admin().execute_command("CLUSTER", "MYID") for one in (source, target)]
    with linked(target.port) as (link, run):
        assert run(link.read(wanted, [], seconds=5)) == expected
        target.admin().execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
        source.admin().execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
        words = ["MIGRATE", "127.0.0.1", target.port, "", 0, 5_000, "KEYS", *keys[::2]]
        source.admin().execute_command(*words)
        assert run(link.read(wanted, [], seconds=5)) == expected
        assert owner_of(link, keys[0]) == ("127.0.0.1", source.port), "ASK is for one time"
        source.admin().execute_command(*words[:7], *keys[1::2])
        for node in (target, source):
            node.admin().execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        assert run(link.read(wanted, [], seconds=5)) == expected
        assert owner_of(link, keys[0]) == ("127.0.0.1", target.port)
        assert link.counts.failed == 0


def test_slots_that_move_under_reads_lose_no_key(cluster: RedisCluster, stock: ClusterLink) -> None:
    keys = [b"live:%d" % number for number in range(150)]
    filled(stock.client, keys)

    async def story(link: PipelinedClusterLink) -> None:
        moving = asyncio.create_task(asyncio.to_thread(cluster.move_slots_of, keys, source=1, target=2))
        reads, dice = 0, random.Random(3)
        while not moving.done():
            wanted = [dice.sample(keys, 60) for _ in range(4)]
            found = await asyncio.gather(*(link.read(some, [], seconds=10) for some in wanted))
            assert found == [values(some) for some in wanted]
            reads += 1
        assert await moving > 10
        assert reads > 3

    with linked(cluster.nodes[1].port) as (link, run):
        run(story(link))


def test_a_node_that_stalls_costs_no_more_than_the_time_given(
    cluster: RedisCluster, stock: ClusterLink
) -> None:
    keys = [b"stall:%d" % number for number in range(60)]
    filled(stock.client, keys)
    with linked(cluster.nodes[0].port, silent_seconds=0.1) as (link, run):
        assert run(link.read(keys, [], seconds=5)) == values(keys)
        stalled = ("127.0.0.1", cluster.nodes[2].port)
        theirs = [key for key in keys if owner_of(link, key) != stalled]
        assert 0 < len(theirs) < len(keys)
        cluster.nodes[2].stall()
        try:
            began = time.monotonic()
            for _ in range(3):
                with pytest.raises(
                    OnlineStoreError, match=f"{stalled[1]} (did not answer within|was silent)"
                ):
                    run(link.read(keys, [], seconds=0.05))
            assert time.monotonic() - began < 1.5, "a stalled node answers never"
            assert run(link.read(theirs, [], seconds=5)) == values(theirs)
        finally:
            cluster.nodes[2].go_on()
        assert run(eventually(link, keys)) == values(keys)


async def eventually(link: PipelinedClusterLink, keys: Sequence[bytes], seconds: float = 15.0) -> list[Any]:
    """The first answer; every error on the way is a typed one."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await link.read(keys, [], seconds=0.25)
            except OnlineStoreError:
                await asyncio.sleep(0.02)


def test_one_refused_key_is_a_typed_error_and_harms_no_other_read(
    cluster: RedisCluster, stock: ClusterLink
) -> None:
    keys = [b"well:%d" % number for number in range(30)]
    filled(stock.client, keys)
    stock.client.hset(b"no string", b"a", b"b")

    async def story(link: PipelinedClusterLink) -> list[Any]:
        reads = [link.read(keys, [], seconds=5), link.read([*keys, b"no string"], [], seconds=5)]
        return await asyncio.gather(*reads, link.read(keys, [], seconds=5), return_exceptions=True)

    with linked(cluster.nodes[0].port) as (link, run):
        before, refused, after = run(story(link))
        assert before == after == values(keys)
        assert isinstance(refused, OnlineStoreError)
        assert "WRONGTYPE" in str(refused)
        assert link.counts.opened <= 6


def test_a_primary_replaced_and_a_primary_killed_are_followed(tmp_path: Path) -> None:
    keys = [b"safe:%d" % number for number in range(60)]

    async def until_replaced(link: PipelinedClusterLink, cluster: RedisCluster) -> int:
        """A planned change: every read goes well. A young cluster may lose the request, so it is made again."""
        replica, reads, asked_at = cluster.nodes[3].admin(), 0, 0.0
        while (is_replica := replica.info("replication")["role"] != "master") or reads < 20:
            if is_replica and time.monotonic() - asked_at > 1:
                replica.execute_command("CLUSTER", "FAILOVER")
                asked_at = time.monotonic()
            assert await link.read(keys, [], seconds=10) == values(keys)
            reads += 1
        return reads

    async def until_taken_over(link: PipelinedClusterLink) -> int:
        """Errors, but never another's row."""
        errors = 0
        async with asyncio.timeout(15):
            while True:
                try:
                    assert await link.read(keys, [], seconds=0.25) == values(keys)
                except OnlineStoreError:
                    errors += 1
                    await asyncio.sleep(0.02)
                else:
                    if errors:
                        return errors

    with running_cluster(tmp_path / "nodes") as cluster, linked(cluster.nodes[1].port) as (link, run):
        client: Any = redis.RedisCluster("127.0.0.1", cluster.nodes[0].port)
        filled(client, keys)
        cluster.nodes[0].admin().wait(1, 5_000)
        assert run(until_replaced(link, cluster)) >= 20
        until_in_sync(cluster.nodes[0].admin())
        cluster.nodes[3].kill()
        assert run(until_taken_over(link)) > 0
        assert ("127.0.0.1", cluster.nodes[3].port) not in link.nodes.map.primaries  # type: ignore[union-attr]


def until_in_sync(replica: Any) -> None:
    for _ in range(500):
        told = replica.info("replication")
        if told["role"] == "slave" and told["master_link_status"] == "up":
            return
        time.sleep(0.02)
    raise AssertionError("the replaced primary never became a replica")


def test_any_node_that_answers_is_one_to_begin_with(cluster: RedisCluster, stock: ClusterLink) -> None:
    filled(stock.client, keys := [b"begin:%d" % number for number in range(30)])
    for ports in ([free_port(), cluster.nodes[2].port], [cluster.nodes[3].port]):
        with linked(*ports) as (link, run):
            assert run(link.read(keys, [], seconds=5)) == values(keys)


def test_what_is_no_cluster_is_said(tmp_path: Path) -> None:
    def refused(port: int, said: str, **options: Any) -> None:
        with linked(port, **options) as (link, run), pytest.raises(OnlineStoreError, match=said):
            run(link.read([b"a"], [], seconds=2))

    refused(free_port(), "cannot be reached")
    with running("--save", "", folder=tmp_path) as port:
        refused(port, "cluster support disabled")
    with running("--save", "", "--cluster-enabled", "yes", folder=tmp_path) as port:
        refused(port, "knows of no cluster")
        client: Any = redis.Redis(port=port)
        client.execute_command("CLUSTER", "ADDSLOTS", *range(1, SLOTS))
        slot = client.execute_command("CLUSTER", "KEYSLOT", "06S")
        assert slot == 0
        with linked(port) as (link, run), pytest.raises(OnlineStoreError, match="slot 0 at the moment"):
            run(link.read([b"06S"], [], seconds=2))
    with pytest.raises(SettingError, match="unix socket"):
        PipelinedClusterLink(Endpoint(Address((), {"path": "/tmp/redis.sock"}), 1.0))


def test_the_documented_rights_are_needed_and_enough(cluster: RedisCluster, stock: ClusterLink) -> None:
    rights = re.findall(r"\+\S+", ACL.read_text().splitlines()[-2])
    stock.client.set("mq:r|7:marquee1:a|", "v")
    admins = [node.admin() for node in cluster.nodes]
    url = f"redis://reader:let%20me@127.0.0.1:{cluster.nodes[0].port}"
    place = RedisPlace(url, ServiceSettings(redis=RedisSettings(type="redis_cluster", connect_seconds=1.0)))

    def allow(*words: str) -> None:
        for admin in admins:
            admin.execute_command("ACL", "SETUSER", "reader", *words)

    async def served() -> None:
        """What a server does, at its start and then; a slot on its way is asked for as one that is there."""
        await asyncio.to_thread(place.blocking().link)
        link = place.link()
        try:
            assert await link.read([b"mq:r|7:marquee1:a|"], [], seconds=2) == [b"v"]
            await link.read([], [(b"mq:r|7:marquee1:b|", [b"a"])], seconds=2)
            await link.fields(b"mq:s|7:marquee1:a|", seconds=2)
            node = PipelinedLink(Endpoint(Address.parse(url), 1.0))
            await node.exchange(command(b"ASKING"), 1, seconds=2)
            await node.close()
        finally:
            await link.close()

    allow("reset", "on", ">let me", "~mq:r|7:marquee*", "~mq:s|7:marquee*", "-@all", *rights)
    asyncio.run(served())
    for right in rights:
        allow(f"-{right.strip('+').split('|')[0]}")
        with pytest.raises(OnlineStoreError, match=r"permission|NOPERM|Cluster mode is not enabled"):
            asyncio.run(served())
        allow(right)
    assert len(rights) == 8


def test_user_and_password_are_the_same_for_every_node(tmp_path: Path) -> None:
    settings = ("--save", "", "--cluster-enabled", "yes", "--requirepass", "secret")
    with running(*settings, folder=tmp_path) as port:
        client: Any = redis.Redis(port=port, password="secret")
        client.execute_command("CLUSTER", "ADDSLOTS", *range(SLOTS))
        rights = ["+get", "+ping", "+client|setname", "+cluster|slots", "~*", "on", ">let me"]
        client.execute_command("ACL", "SETUSER", "reader", *rights)
        while client.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            time.sleep(0.02)
        client.set("k", "v")

        async def read(options: dict[str, Any]) -> list[Any]:
            link = PipelinedClusterLink(endpoint(port, **options))
            try:
                return await link.read([b"k"], [], seconds=2)
            finally:
                await link.close()

        assert asyncio.run(read({"username": "reader", "password": "let me"})) == [b"v"]
        assert asyncio.run(read({"password": "secret", "db": 5})) == [b"v"], "a cluster has database 0 only"
        for options, said in (({}, "NOAUTH"), ({"password": "wrong"}, "WRONGPASS")):
            with pytest.raises(OnlineStoreError, match=said) as caught:
                asyncio.run(read(options))
            assert "secret" not in str(caught.value)


def of_one_node(slots: bytes, answers: dict[bytes, bytes]) -> Callable[[Caller, Command], Any]:
    async def answer(caller: Caller, words: Command) -> None:
        if words[:2] == [b"CLUSTER", b"SLOTS"]:
            caller.say(slots)
        elif words[0] == b"GET":
            caller.say(answers[words[1]])
        else:
            await obey(caller, words)

    return answer


def test_nodes_that_never_agree_cost_the_time_given() -> None:
    async def story() -> None:
        slots = b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$0\r\n\r\n:%d\r\n"
        answers = {b"well": bulk(b"v")}
        port_of_slots = free_port()
        async with scripted(of_one_node(slots % port_of_slots, answers)) as port:
            answers[b"lost"] = b"-MOVED 7 :%d\r\n" % port
            async with scripted(of_one_node(slots % port, answers)) as other:
                link = PipelinedClusterLink(endpoint(other))
                assert await link.read([b"well"], [], seconds=5) == [b"v"], (
                    "a host without a name is the asked"
                )
                with pytest.raises(OnlineStoreError, match="do not agree"):
                    await link.read([b"well", b"lost"], [], seconds=0.2)
                await link.close()

    asyncio.run(asyncio.wait_for(story(), 20))


@pytest.mark.parametrize(
    "reply", [b"+OK\r\n", b"*1\r\n:3\r\n", b"*1\r\n*3\r\n:0\r\n:9\r\n*2\r\n:1\r\n:1\r\n"]
)
def test_nonsense_about_slots_is_a_typed_error(reply: bytes) -> None:
    async def story() -> None:
        async with scripted(of_one_node(reply, {})) as port:
            link = PipelinedClusterLink(endpoint(port))
            with pytest.raises(OnlineStoreError, match="CLUSTER SLOTS was asked"):
                await link.read([b"a"], [], seconds=2)
            await link.close()

    asyncio.run(asyncio.wait_for(story(), 20))


def test_redirections_are_read_as_redis_writes_them() -> None:
    asked = ("h", 1)
    assert Redirection.of(Exception("MOVED 3999 127.0.0.1:6381"), asked) == Redirection(
        3999, ("127.0.0.1", 6381), is_ask=False
    )
    assert Redirection.of(Exception("ASK 7 ::1:6381"), asked) == Redirection(7, ("::1", 6381), is_ask=True)
    assert Redirection.of(Exception("MOVED 7 :6381"), asked) == Redirection(7, ("h", 6381), is_ask=False)
    for other in ("MOVED", "MOVED 7 here", "MOVED 16384 h:1", "ASK x h:1", "CLUSTERDOWN The cluster is down"):
        assert Redirection.of(Exception(other), asked) is None


def test_a_corrected_map_keeps_everything_else() -> None:
    known = SlotMap.of_reply([[0, 9, [b"", 1, b"id"], [b"r", 2]], [20, 29, [None, 3]]], ("h", 7))
    assert (known.primaries, known.replicas, known.covered) == ((("h", 1), ("h", 3)), (("r", 2),), 20)
    corrected = known.corrected({5: ("n", 4), 15: ("n", 4)})
    assert corrected.covered == 21
    assert set(corrected.primaries) == {("h", 1), ("h", 3), ("n", 4)}
    assert [corrected.owners[slot] for slot in (4, 5, 6, 15)] == [("h", 1), ("n", 4), ("h", 1), ("n", 4)]
