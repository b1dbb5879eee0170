"""One call of the load, as its sender saw it."""

from __future__ import annotations

from dataclasses import dataclass

from .canary import Whole

CANCELLED_BY_CALLER = "cancelled by caller"
OK = "OK"


@dataclass
class Call:
    """Times are of the monotonic clock, which all processes of a machine share."""

    number: int
    user: int
    items: Whole
    """Candidates by number, in the order asked."""
    deadline: float
    """Seconds from `sent`."""
    intended: float
    """When it should have been sent; latency counts from here."""
    time_offset: float | None = None
    """Seconds from now to the request's own time; None leaves it to the server's clock."""
    sent: float = 0.0
    finished: float = 0.0
    attempts: int = 0
    status: str = ""
    """Of the last attempt: OK, a gRPC status, or `CANCELLED_BY_CALLER`."""
    details: str = ""
    body: bytes = b""
    """The response as it came."""
    level: int = -1
    """Of the answer; -1 without one."""

    @property
    def request_id(self) -> str:
        return f"call-{self.number}"

    @property
    def is_answered(self) -> bool:
        return self.status == OK

    @property
    def is_in_time(self) -> bool:
        return self.is_answered and self.finished - self.sent <= self.deadline * 1.05
