"""Connections that many requests share: whatever the other side does, every caller gets its own reply or an error."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from async_redis import Caller, Command, bulk, endpoint, obey, proxied, scripted, until
from redis_servers import free_port, running, sentinel

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.pipelined import MOST_PENDING, PipelinedLink
from materialization.data_plane.online.redis_address import Address


def run(story: Callable[[], Awaitable[None]], seconds: float = 20.0) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await story()

    asyncio.run(bounded())


async def value(link: PipelinedLink, key: bytes, seconds: float = 2.0) -> bytes | None:
    (found,) = await link.read([key], [], seconds=seconds)
    return found


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].split("/")[0])


def test_many_reads_at_once_each_get_their_own_rows(redis_url: str) -> None:
    client: Any = redis.Redis.from_url(redis_url)
    client.mset({f"k{number}": f"v{number}" for number in range(500)})
    for number in range(50):
        client.hset(f"h{number}", mapping={"a": f"{number}a", "b": f"{number}b"})

    async def one(link: PipelinedLink, dice: random.Random) -> None:
        keys = [dice.randrange(600) for _ in range(dice.randint(0, 30))]
        hashes = [dice.randrange(60) for _ in range(dice.randint(0, 3))]
        found = await link.read(
            [b"k%d" % key for key in keys], [(b"h%d" % one, (b"b", b"x", b"a")) for one in hashes], seconds=10
        )
        expected = [b"v%d" % key if key < 500 else None for key in keys]
        for number in hashes:
            known = number < 50
            expected += [b"%db" % number if known else None, None, b"%da" % number if known else None]
        assert found == expected

    async def story() -> None:
        link = PipelinedLink(endpoint(port_of(redis_url)), hedge_seconds=0.001, hedge_share=0.5)
        dice = random.Random(5)
        for _ in range(4):
            await asyncio.gather(*(one(link, dice) for _ in range(200)))
        assert link.counts.opened <= 2
        assert link.counts.failed == 0
        await link.close()

    run(story)


def test_cancelled_callers_shift_nobodys_replies(redis_url: str) -> None:
    client: Any = redis.Redis.from_url(redis_url)
    client.mset({f"k{number}": f"v{number}" for number in range(1000)})

    async def story() -> None:
        link = PipelinedLink(endpoint(port_of(redis_url)), hedge_seconds=0.0005, hedge_share=1.0)
        dice, cancelled, served = random.Random(6), 0, 0
        for _ in range(10):
            numbers = [dice.randrange(1000) for _ in range(100)]
            tasks = [asyncio.create_task(value(link, b"k%d" % number)) for number in numbers]
            for task in tasks:
                if dice.random() < 0.5:
                    asyncio.get_running_loop().call_later(dice.random() * 0.01, task.cancel)
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for number, result in zip(numbers, results, strict=True):
                if isinstance(result, asyncio.CancelledError):
                    cancelled += 1
                else:
                    served += 1
                    assert result == b"v%d" % number
        assert cancelled
        assert served
        await link.close()

    run(story)


def test_replies_may_come_in_pieces_of_any_size() -> None:
    async def in_pieces(caller: Caller, words: Command) -> None:
        if words[0] != b"MGET":
            return await obey(caller, words)
        whole = b"*2\r\n" + bulk(b"v:" + words[1]) + b"$-1\r\n"
        cut = int(words[2])
        for part in (whole[:cut], whole[cut:]):
            caller.say(part)
            await asyncio.sleep(0.001)
        return None

    async def story() -> None:
        async with scripted(in_pieces) as port:
            link = PipelinedLink(endpoint(port), connections=1)
            for cut in range(len(b"*2\r\n$3\r\nv:a\r\n$-1\r\n") + 1):
                assert await link.read([b"a", b"%d" % cut], [], seconds=5) == [b"v:a", None]
            assert link.counts.opened == 1
            await link.close()

    run(story)


async def drop(caller: Caller, words: Command) -> None:
    """The reply never comes; those that follow do."""


async def twice(caller: Caller, words: Command) -> None:
    await obey(caller, words)
    await obey(caller, words)


async def of_another(caller: Caller, words: Command) -> None:  # noqa: ARG001
    """The PING's mark with it: nothing but the number tells."""
    caller.say(b"*1\r\n" + bulk(b"v:another's") + bulk(b"123456789"))


async def nonsense(caller: Caller, words: Command) -> None:  # noqa: ARG001
    caller.say(b"\x00\x01what?\r\n")


async def too_many_values(caller: Caller, words: Command) -> None:
    await obey(caller, [*words, b"more"])


async def no_list(caller: Caller, words: Command) -> None:  # noqa: ARG001
    caller.say(b":5\r\n")


async def hang_up(caller: Caller, words: Command) -> None:  # noqa: ARG001
    caller.hang_up()


async def half(caller: Caller, words: Command) -> None:  # noqa: ARG001
    caller.say(b"*1\r\n$20\r\nv:")
    await asyncio.sleep(0.01)
    caller.hang_up()


async def swallowing(caller: Caller, words: Command) -> None:  # noqa: ARG001
    """A length that was garbled: all that follows is taken for its text."""
    caller.say(b"*1\r\n$100000000\r\nv:")


MISDEEDS = [drop, twice, of_another, nonsense, too_many_values, no_list, hang_up, half, swallowing]


@pytest.mark.parametrize("misdeed", MISDEEDS)
def test_no_misdeed_gives_a_caller_a_wrong_reply_and_the_connection_mends(
    misdeed: Callable[[Caller, Command], Awaitable[None]],
) -> None:
    """Every tenth reply is wrong: nobody ever gets another's value, and most are served."""
    asked = 0

    async def sometimes(caller: Caller, words: Command) -> None:
        nonlocal asked
        asked += words[0] == b"MGET"
        await (misdeed if words[0] == b"MGET" and asked % 10 == 0 else obey)(caller, words)

    async def story() -> None:
        async with scripted(sometimes) as port:
            link = PipelinedLink(endpoint(port), silent_seconds=0.05)
            served = failed = 0
            end = time.monotonic() + 15
            while served < 60:
                assert time.monotonic() < end
                keys = [b"%d" % random.randrange(10**6) for _ in range(3)]
                results = await asyncio.gather(
                    *(value(link, key, 0.1) for key in keys), return_exceptions=True
                )
                for key, result in zip(keys, results, strict=True):
                    if isinstance(result, OnlineStoreError):
                        failed += 1
                    else:
                        assert result == b"v:" + key
                        served += 1
                if failed:
                    await asyncio.sleep(0.01)
            assert failed
            await link.close()

    run(story)


@pytest.mark.parametrize("problem", [b"WRONGTYPE Operation", b"LOADING Redis is loading", b"NOPERM no"])
def test_what_redis_refuses_fails_its_own_read_only(problem: bytes) -> None:
    async def refuse(caller: Caller, words: Command) -> None:
        if words[0] == b"MGET" and words[1] == b"bad":
            caller.say(b"-%b\r\n" % problem)
        else:
            await obey(caller, words)

    async def story() -> None:
        async with scripted(refuse) as port:
            link = PipelinedLink(endpoint(port), connections=1)
            bad, good = await asyncio.gather(
                value(link, b"bad"), value(link, b"good"), return_exceptions=True
            )
            assert isinstance(bad, OnlineStoreError)
            assert problem.decode() in str(bad)
            assert good == b"v:good"
            assert link.counts.opened == 1
            await link.close()

    run(story)


def test_a_connection_that_takes_bytes_and_says_nothing_is_closed_and_opened_anew() -> None:
    healthy = False

    async def silent(caller: Caller, words: Command) -> None:
        if healthy or words[0] != b"MGET" or caller.number > 1:
            await obey(caller, words)
        else:
            await asyncio.sleep(3600)

    async def story() -> None:
        async with scripted(silent) as port:
            link = PipelinedLink(endpoint(port), silent_seconds=0.05)
            with pytest.raises(OnlineStoreError, match="did not answer within 20 ms"):
                await value(link, b"a", 0.02)
            end = time.monotonic() + 5
            while True:
                try:
                    assert await value(link, b"b", 0.1) == b"v:b"
                    break
                except OnlineStoreError:
                    assert time.monotonic() < end
            assert link.counts.opened > 2
            await link.close()

    run(story)


def test_a_connection_that_owes_too_much_is_given_up_too() -> None:
    """More bytes come for ever, and no reply: reads fail at once, and then they mend."""

    async def dribble(caller: Caller, words: Command) -> None:
        if caller.number == 0 and words[0] == b"MGET":
            caller.say(b"*1\r\n$1000000\r\n" if words[1] == b"first" else b"x")
        elif caller.number:
            await obey(caller, words)
        elif b"marquee-serving" in words:
            caller.say(b"+OK\r\n")
        elif words[0] == b"PING" and not link_is_bad:
            await obey(caller, words)

    link_is_bad = False

    async def story() -> None:
        nonlocal link_is_bad
        async with scripted(dribble) as port:
            link = PipelinedLink(endpoint(port), connections=1, silent_seconds=1.0)
            await link.ping(seconds=1)
            link_is_bad = True
            hopeless = [asyncio.create_task(value(link, b"first", 30))]
            hopeless += [asyncio.create_task(value(link, b"more", 30)) for _ in range(MOST_PENDING - 1)]
            await asyncio.sleep(0.05)
            with pytest.raises(OnlineStoreError, match=f"owes {MOST_PENDING} answers"):
                await value(link, b"b", 0.1)
            await asyncio.sleep(1.1)
            with pytest.raises(OnlineStoreError):
                await value(link, b"b", 0.1)
            assert await value(link, b"b", 2) == b"v:b"
            for result in await asyncio.gather(*hopeless, return_exceptions=True):
                assert isinstance(result, OnlineStoreError)
            await link.close()

    run(story)


def test_a_refused_connection_is_an_error_at_once_and_mends(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        link = PipelinedLink(endpoint(port))
        for _ in range(5):
            started = time.monotonic()
            with pytest.raises(OnlineStoreError, match=f"127.0.0.1:{port} cannot be reached"):
                await value(link, b"a", 5)
            assert time.monotonic() - started < 2
        with running("--save", "", folder=tmp_path, port=port):
            async with asyncio.timeout(5):
                while True:
                    try:
                        assert await value(link, b"a", 1) is None
                        break
                    except OnlineStoreError:
                        await asyncio.sleep(0.02)
            await link.close()

    run(story)


def test_a_server_that_accepts_and_says_nothing_costs_the_readers_time_only() -> None:
    async def story() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            link = PipelinedLink(endpoint(server.getsockname()[1]))
            started = time.monotonic()
            results = await asyncio.gather(
                *(value(link, b"a", 0.1) for _ in range(20)), return_exceptions=True
            )
            assert time.monotonic() - started < 0.9, "less than the time to connect"
            assert all(isinstance(result, OnlineStoreError) for result in results)
            await link.close()

    run(story)


def test_a_half_open_connection_is_found_out(redis_url: str) -> None:
    """The other side is gone without a word: nothing comes back, nothing is refused."""

    async def story() -> None:
        async with proxied(port_of(redis_url)) as proxy:
            link = PipelinedLink(endpoint(proxy.port), silent_seconds=0.1)
            assert await value(link, b"a") is None
            for pipe in proxy.hold(lambda _: True):
                pipe.open.clear()
            end, failed = time.monotonic() + 5, 0
            while True:
                try:
                    await value(link, b"a", 0.05)
                    break
                except OnlineStoreError:
                    failed += 1
                    assert time.monotonic() < end
            assert failed
            for pipe in proxy.pipes:
                pipe.open.set()
            await link.close()

    run(story)


def test_a_hedged_read_is_answered_by_the_second_connection() -> None:
    async def first_is_slow(caller: Caller, words: Command) -> None:
        if caller.number == 0 and words[0] == b"MGET":
            await asyncio.sleep(0.5)
        await obey(caller, words)

    async def story() -> None:
        async with scripted(first_is_slow) as port:
            link = PipelinedLink(endpoint(port), silent_seconds=5, hedge_seconds=0.01, hedge_share=0.1)
            await link.ping(seconds=1)
            await until(lambda: link.counts.opened == 1)
            found = await asyncio.gather(value(link, b"a"), value(link, b"b"), value(link, b"c"))
            assert found == [b"v:a", b"v:b", b"v:c"]
            assert link.counts.opened == 2
            assert link.counts.hedged == link.counts.hedges_won >= 1
            await link.close()

    run(story)


def test_hedging_keeps_within_its_share() -> None:
    async def slow(caller: Caller, words: Command) -> None:
        if words[0] == b"MGET":
            await asyncio.sleep(0.01)
        await obey(caller, words)

    async def story() -> None:
        async with scripted(slow) as port:
            link = PipelinedLink(endpoint(port), silent_seconds=5, hedge_seconds=0.001, hedge_share=0.1)
            await asyncio.gather(link.ping(seconds=1), link.ping(seconds=1))
            for number in range(200):
                assert await value(link, b"%d" % number) == b"v:%d" % number
            assert 10 < link.counts.hedged <= 5 + 0.1 * link.counts.reads + 1
            await link.close()

    run(story)


def test_without_hedging_nothing_is_asked_twice(redis_url: str) -> None:
    client: Any = redis.Redis.from_url(redis_url)

    async def story() -> None:
        link = PipelinedLink(endpoint(port_of(redis_url)))
        await link.ping(seconds=1)
        assert await value(link, b"a") is None
        before = client.info("commandstats")["cmdstat_mget"]["calls"]
        for _ in range(50):
            await value(link, b"a")
        assert client.info("commandstats")["cmdstat_mget"]["calls"] == before + 50
        await link.close()

    run(story)


def test_closing_fails_what_is_under_way_and_leaves_no_connection(redis_url: str) -> None:
    client: Any = redis.Redis.from_url(redis_url)

    async def story() -> None:
        link = PipelinedLink(endpoint(port_of(redis_url)))
        await link.ping(seconds=1)
        reading = asyncio.create_task(value(link, b"a"))
        opening = PipelinedLink(endpoint(port_of(redis_url)))
        waiting = asyncio.create_task(value(opening, b"a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await asyncio.gather(link.close(), opening.close())
        results = await asyncio.gather(reading, waiting, return_exceptions=True)
        assert all(
            isinstance(result, (OnlineStoreError, asyncio.CancelledError)) or result is None
            for result in results
        )
        await until(lambda: not [one for one in client.client_list() if one["name"] == "marquee-serving"])

    run(story)


def test_user_password_and_database_are_those_of_the_address(tmp_path: Path) -> None:
    async def story(port: int) -> None:
        plain = f"redis://127.0.0.1:{port}"
        named = f"redis://reader:let%20me@127.0.0.1:{port}/3"
        assert await asked(named, b"k") == b"of 3"
        assert await asked(f"redis://:secret@127.0.0.1:{port}/0", b"k") == b"of 0"
        for address, said in (
            (plain, "NOAUTH"),
            (f"redis://reader:wrong@127.0.0.1:{port}", "WRONGPASS"),
            (f"redis://:secret@127.0.0.1:{port}/99", "out of range"),
        ):
            with pytest.raises(OnlineStoreError, match=said) as caught:
                await asked(address, b"k")
            assert "let me" not in str(caught.value)
            assert "secret" not in str(caught.value)

    with running("--save", "", "--requirepass", "secret", folder=tmp_path) as port:
        for number in (0, 3):
            client: Any = redis.Redis(port=port, password="secret", db=number)
            client.set("k", f"of {number}")
        rights = ["+@read", "+@connection", "+select", "~*", "on", ">let me"]
        client.execute_command("ACL", "SETUSER", "reader", *rights)
        run(lambda: story(port))


async def asked(address: str, key: bytes, **options: Any) -> bytes | None:
    link = PipelinedLink(Endpoint(Address.parse(address), 2.0, **options))
    try:
        return await value(link, key)
    finally:
        await link.close()


def test_a_unix_socket_works_too(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    with running("--save", "", "--unixsocket", str(path), folder=tmp_path) as port:
        client: Any = redis.Redis(port=port)
        client.set("k", "v")

        async def story() -> None:
            assert await asked(f"unix://{path}", b"k") == b"v"
            with pytest.raises(OnlineStoreError, match="nowhere"):
                await asked(f"unix://{path}.nowhere", b"k")

        run(story)


def test_sentinels_say_where_the_primary_is() -> None:
    with sentinel() as (port, primary):
        client: Any = redis.Redis(port=primary)
        client.set("k", "v")

        async def story() -> None:
            address = f"redis://127.0.0.1:{port}"
            assert await asked(address, b"k", sentinel_master="mymaster") == b"v"
            with pytest.raises(OnlineStoreError, match="cannot be reached"):
                await asked(address, b"k", sentinel_master="another")

        run(story)
