"""Open-loop load from a process of its own: each call has its time of sending, whatever the server does."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from ranking_service.proto import ranking_pb2

from .calls import CANCELLED_BY_CALLER, OK, Call
from .canary import CanaryWorld

METHOD = "/marquee.ranking.v1.RankingService/Rank"
START_SECONDS = 3.0
"""A new process takes this long at most to import and to prepare its requests; the load begins then."""
CHANNELS = 16
"""So many callers' connections spread evenly enough over a server's workers."""
OWN_CHANNEL = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.enable_retries", 0),
)
"""A channel with a connection of its own, which it tries anew at least twice a second."""
CANCEL_WITHIN = 0.03
"""Cancelled calls are cancelled after a uniformly random part of this many seconds."""


@dataclass(frozen=True)
class Plan:
    """What the load does."""

    rates: tuple[tuple[float, float], ...]
    """(seconds, calls per second), one after the other; sent at random instants of that mean rate."""
    candidates: int = 500
    deadlines: tuple[float, ...] = (0.1,)
    """Seconds; each call draws one."""
    time_offsets: tuple[float | None, ...] = (None,)
    """Seconds from now to the request's own time; each call draws one."""
    cancel_share: float = 0.0
    retries: int = 0
    """How often a failed call is sent again, at once."""
    seed: int = 1

    @property
    def seconds(self) -> float:
        return sum(seconds for seconds, _ in self.rates)

    def calls(self, world: CanaryWorld, begin: float) -> list[Call]:
        """In the order of their intended times."""
        random = np.random.default_rng(self.seed)
        calls: list[Call] = []
        for seconds, rate in self.rates:
            count = random.poisson(rate * seconds)
            for offset in np.sort(random.random(count)) * seconds:
                calls.append(self._call(world, random, len(calls), begin + offset))
            begin += seconds
        return calls

    def _call(self, world: CanaryWorld, random: np.random.Generator, number: int, intended: float) -> Call:
        return Call(
            number,
            user=int(random.integers(world.users)),
            items=random.choice(world.items, min(self.candidates, world.items), replace=False),
            deadline=self.deadlines[int(random.integers(len(self.deadlines)))],
            intended=float(intended),
            time_offset=self.time_offsets[int(random.integers(len(self.time_offsets)))],
        )


@dataclass
class Load:
    """A load under way."""

    begin: float
    """Monotonic time of its first second."""
    process: Any
    results: Any

    @classmethod
    def start(cls, world: CanaryWorld, address: str, plan: Plan) -> Load:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        begin = time.monotonic() + START_SECONDS
        process = context.Process(target=_run, args=(world, address, plan, begin, theirs), daemon=True)
        process.start()
        theirs.close()
        return cls(begin, process, ours)

    def wait_until(self, second: float) -> None:
        """Of the load."""
        time.sleep(max(0.0, self.begin + second - time.monotonic()))

    def finish(self) -> list[Call]:
        """All calls, once the last has ended."""
        calls: list[Call] = self.results.recv()
        self.process.join()
        return calls


def capacity(world: CanaryWorld, address: str, *, candidates: int, seconds: float, callers: int) -> float:
    """Whole answers per second for so many callers who each wait for their answer before they call again."""
    return asyncio.run(_closed_loop(world, address, candidates=candidates, seconds=seconds, callers=callers))


def _run(world: CanaryWorld, address: str, plan: Plan, begin: float, results: Any) -> None:
    calls = plan.calls(world, begin)
    results.send(
        asyncio.run(_Sender(address, plan).send_all(calls, [_message(world, call) for call in calls]))
    )


def _message(world: CanaryWorld, call: Call) -> bytes:
    message = ranking_pb2.RankRequest(
        request_id=call.request_id,
        user_id=world.user_id(call.user),
        candidate_ids=[world.item_id(item) for item in call.items],
    )
    if call.time_offset is not None:
        message.context.request_time.CopyFrom(Timestamp(seconds=int(time.time() + call.time_offset)))
    return bytes(message.SerializeToString())


@dataclass
class _Sender:
    address: str
    plan: Plan
    methods: list[Any] = field(default_factory=list)

    async def send_all(self, calls: Sequence[Call], messages: Sequence[bytes]) -> list[Call]:
        random = np.random.default_rng(self.plan.seed + 1)
        channels = [grpc.aio.insecure_channel(self.address, options=OWN_CHANNEL) for _ in range(CHANNELS)]
        self.methods = [channel.unary_unary(METHOD) for channel in channels]
        await asyncio.gather(*(_ready(channel) for channel in channels))
        tasks = []
        for call, message in zip(calls, messages, strict=True):
            if call.intended > time.monotonic():
                await asyncio.sleep(call.intended - time.monotonic())
            cancelled = random.random() < self.plan.cancel_share
            after = random.random() * CANCEL_WITHIN if cancelled else None
            tasks.append(asyncio.create_task(self._send(call, message, after)))
        await asyncio.gather(*tasks)
        for channel in channels:
            await channel.close()
        return list(calls)

    async def _send(self, call: Call, message: bytes, cancel_after: float | None) -> None:
        call.sent = time.monotonic()
        while call.attempts <= self.plan.retries and not call.is_answered:
            left = call.deadline - (time.monotonic() - call.sent)
            if left <= 0:
                break
            call.attempts += 1
            method = self.methods[(call.number + call.attempts) % len(self.methods)]
            await _attempt(method(message, timeout=left), call, cancel_after)
        call.finished = time.monotonic()


async def _attempt(running: Any, call: Call, cancel_after: float | None) -> None:
    timer = None
    if cancel_after is not None:
        timer = asyncio.get_running_loop().call_later(cancel_after, running.cancel)
    try:
        call.body, call.status, call.details = await running, OK, ""
    except grpc.aio.AioRpcError as error:
        call.status, call.details = error.code().name, str(error.details())
    except asyncio.CancelledError:
        call.status = CANCELLED_BY_CALLER
    finally:
        if timer is not None:
            timer.cancel()


async def _ready(channel: Any) -> None:
    """Connected, or as good as can be had in a second."""
    try:
        await asyncio.wait_for(channel.channel_ready(), 1.0)
    except TimeoutError:
        return


async def _closed_loop(
    world: CanaryWorld, address: str, *, candidates: int, seconds: float, callers: int
) -> float:
    plan = Plan(((1.0, 300.0),), candidates=candidates, seed=77)
    messages = [_message(world, call) for call in plan.calls(world, 0.0)]
    channels = [grpc.aio.insecure_channel(address, options=OWN_CHANNEL) for _ in range(CHANNELS)]
    methods = [channel.unary_unary(METHOD) for channel in channels]
    end = time.monotonic() + seconds
    answers: list[bytes] = []

    async def call_again_and_again(caller: int) -> None:
        number = caller
        while time.monotonic() < end:
            try:
                answers.append(
                    await methods[caller % CHANNELS](messages[number % len(messages)], timeout=1.0)
                )
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.01)
            number += callers

    await asyncio.gather(*(call_again_and_again(caller) for caller in range(callers)))
    for channel in channels:
        await channel.close()
    whole = [body for body in answers if ranking_pb2.RankResponse.FromString(body).level == 0]
    return len(whole) / seconds
