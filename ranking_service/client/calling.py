"""What the sync and the async client share: where a call goes, what it carries, and what its end means."""

from __future__ import annotations

import math
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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

TIMEOUT_SECONDS = 1.0
"""Of one ranking."""
CALL_SECONDS = 5.0
"""Of one call that holds many, and of one answer of a stream."""
OVERALL_SECONDS = 600.0
"""Of all calls of a batch, and of a stream."""
REQUESTS_PER_CALL = 32
"""As servers allow by default."""
EXPIRED, CANCELLED = "DEADLINE_EXCEEDED", "CANCELLED"


@dataclass(frozen=True)
class Calling:
    """Everything of a client but its channels."""

    address: str
    lanes: Lanes
    policy: RetryPolicy
    budget: RetryBudget
    security: ClientSecurity
    requests_per_call: int = REQUESTS_PER_CALL
    clock: Callable[[], float] = time.monotonic
    """Seconds of any origin."""
    random: Callable[[], float] = random.random
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex

    @classmethod
    def to(
        cls,
        address: str,
        *,
        security: ClientSecurity | None = None,
        connections: int = 1,
        retry: RetryPolicy | None = None,
        requests_per_call: int = REQUESTS_PER_CALL,
        **edges: Callable[[], Any],
    ) -> Calling:
        """Opens nothing. `edges` are clock, random and new_id.

        Raises SettingError for what is unusable.
        """
        servers = addresses(address)
        for name, count in (("connections", connections), ("requests_per_call", requests_per_call)):
            if count < 1:
                raise SettingError(f"{name} is {count}; expected 1 or more")
        policy = retry or RetryPolicy()
        return cls(
            address=address,
            lanes=Lanes.to(servers, connections),
            policy=policy,
            budget=RetryBudget(policy.budget_share, policy.budget_burst),
            security=(security or ClientSecurity()).checked(servers),
            requests_per_call=requests_per_call,
            **edges,
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

    def left(self, deadline: float) -> float:
        """Seconds until it; raises DeadlineError when there are none."""
        remaining = deadline - self.clock()
        if remaining <= 0:
            raise DeadlineError(f"{self.address}: no time was left to ask; raise the timeout", code=EXPIRED)
        return remaining

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
