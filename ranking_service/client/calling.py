"""What the sync and the async client share: where a call goes, what it carries, and what its end means."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

import grpc

from feature_repo.errors import MarqueeError, RequestError, SettingError
from ranking_service.client.errors import (
    CallError,
    DeadlineError,
    OverloadedError,
    UnavailableError,
    from_rpc,
)
from ranking_service.client.lanes import CHANNEL_OPTIONS, Lane, Lanes, addresses
from ranking_service.client.retry import Retries, RetryBudget, RetryPolicy
from ranking_service.client.security import ClientSecurity
from ranking_service.proto import ranking_pb2

TIMEOUT_SECONDS = 1.0
"""Of one ranking."""
CALL_SECONDS = 5.0
"""Of one call that holds many, and of one answer of a stream."""
OVERALL_SECONDS = 600.0
"""Of all calls of a batch, and of a stream."""
REQUESTS_PER_CALL = 32
"""As servers allow by default."""
EXPIRED, CANCELLED = "DEADLINE_EXCEEDED", "CANCELLED"


class Options(TypedDict, total=False):
    """What `connect` takes beside the address."""

    security: ClientSecurity | None
    connections: int
    """To each address: several worker processes behind one port are reached by several connections only, and chance
    says which; take four times as many."""
    retry: RetryPolicy | None
    requests_per_call: int
    """The server's limit."""
    clock: Callable[[], float]
    """Seconds of any origin."""
    random: Callable[[], float]
    """0 to 1."""
    new_id: Callable[[], str]
    """Makes request ids for streams."""


@dataclass(frozen=True)
class Calling:
    """Everything of a client but its channels."""

    address: str
    lanes: Lanes
    policy: RetryPolicy
    budget: RetryBudget
    security: ClientSecurity
    requests_per_call: int
    clock: Callable[[], float]
    random: Callable[[], float]
    new_id: Callable[[], str]

    @classmethod
    def to(cls, address: str, **options: Unpack[Options]) -> Calling:
        """Opens nothing. Raises SettingError for what is unusable."""
        servers = addresses(address)
        connections = options.get("connections", 1)
        per_call = options.get("requests_per_call", REQUESTS_PER_CALL)
        for name, number in (("connections", connections), ("requests_per_call", per_call)):
            if number < 1:
                raise SettingError(f"{name} is {number}; expected 1 or more")
        policy = options.get("retry") or RetryPolicy()
        security = options.get("security") or ClientSecurity()
        return cls(
            address=address,
            lanes=Lanes.to(servers, connections),
            policy=policy,
            budget=RetryBudget(policy.budget_share, policy.budget_burst),
            security=security.checked(servers),
            requests_per_call=per_call,
            clock=options.get("clock", time.monotonic),
            random=options.get("random", random.random),
            new_id=options.get("new_id", _new_id),
        )

    def channel_options(self) -> list[tuple[str, int | str]]:
        name = self.security.server_name
        return [*CHANNEL_OPTIONS, *([("grpc.ssl_target_name_override", name)] if name else [])]

    def begin(self, timeout: float, *, overall: float = math.inf) -> Retries:
        """The tries of a call that starts now and ends at the nearer of two deadlines, `overall` a clock's reading.

        Raises RequestError for a timeout that is none.
        """
        now = self.clock()
        self.budget.add()
        return Retries(self.policy, self.budget, min(now + seconds("timeout", timeout), overall), self.random)

    def terms(self, retries: Retries) -> dict[str, Any]:
        """What each try is given: the time left and the token.

        Raises DeadlineError when there is no time, SettingError when the token's file cannot be read.
        """
        remaining = retries.deadline - self.clock()
        if remaining <= 0:
            raise DeadlineError(f"{self.address}: no time was left to ask; raise the timeout", code=EXPIRED)
        return {"timeout": remaining, "metadata": self.security.metadata()}

    def wait(self, retries: Retries, error: MarqueeError) -> float | None:
        """Seconds until the next try; None when there is to be none."""
        now = self.clock()
        return retries.wait(error, now, elsewhere=self.lanes.others_awake(now, retries.lane))

    def heard(self, retries: Retries, answers: int, size: int) -> None:
        """A stream works: its next breach is a first one, and so many answers count as a call."""
        retries.tried = 1
        if answers % size == 0:
            self.budget.add()

    @contextmanager
    def attempt(self, retries: Retries) -> Iterator[Lane]:
        """One try on the lane it yields; a failure becomes its typed error, and counts for or against the lane."""
        lane = self.lanes.take(self.clock(), retries.lane)
        retries.lane = lane
        try:
            yield lane
        except grpc.RpcError as error:
            found = from_rpc(error, lane.address)
            self._settle(lane, found)
            raise found from error
        except MarqueeError as error:
            self._settle(lane, error)
            raise
        except BaseException:
            self.lanes.left(lane)
            raise
        self.lanes.answered(lane)

    def note(self, lane: Lane, response: Any) -> None:
        """Of Rank's answer or RankMany's: which process it came from, and whether that could rank."""
        single = isinstance(response, ranking_pb2.RankResponse)
        given = (
            [response] if single else [one.response for one in response.results if one.HasField("response")]
        )
        if given:
            self.lanes.reaches(lane, given[0].worker)
        if any(answer.without_room for answer in given):
            self.lanes.without_room(lane, self.clock())

    def _settle(self, lane: Lane, error: MarqueeError) -> None:
        if isinstance(error, DeadlineError):
            self.lanes.overran(lane, self.clock())
        elif isinstance(error, OverloadedError) or (isinstance(error, CallError) and error.code == CANCELLED):
            self.lanes.left(lane)
        elif isinstance(error, UnavailableError):
            self.lanes.failed(lane, self.clock())
        else:
            self.lanes.answered(lane)


def count(name: str, value: int) -> int:
    """The number itself; RequestError for less than 1."""
    if value < 1:
        raise RequestError(name, f"is {value}; expected 1 or more")
    return value


def seconds(name: str, value: float) -> float:
    """The timeout itself; RequestError for one that is not positive and finite."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise RequestError(name, f"is {value!r}; expected a positive number of seconds")
    return value


def _new_id() -> str:
    return uuid.uuid4().hex
