"""Who calls: by token, else by client certificate, else by address."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

TOKEN_NAME: ContextVar[str] = ContextVar("token_name", default="")
"""The name that stands beside the caller's token; empty where no token was asked for. Set for one call."""

ANONYMOUS, CERTIFIED = "anonymous", "certificate"
"""What metrics call callers without a token: addresses and certificates are too many for labels."""


def caller(context: Any, *, asks_certificate: bool = True) -> str:
    """Whose share of the server a call takes: "token:web", "certificate:web.internal" or "address:10.0.0.7".

    `context` is gRPC's; `asks_certificate` says whether callers have certificates, for gRPC takes 0.2 ms to look.
    Connections over a unix socket have no address and are one caller.
    """
    name = TOKEN_NAME.get()
    if name:
        return f"token:{name}"
    identity = _certificate(context) if asks_certificate else ""
    return f"certificate:{identity}" if identity else f"address:{_host(context.peer())}"


def label(caller_name: str) -> str:
    """A caller as metrics name it: one of the tokens' names, or what kind of caller it is."""
    kind, _, name = caller_name.partition(":")
    return name if kind == "token" else CERTIFIED if kind == "certificate" else ANONYMOUS


def _certificate(context: Any) -> str:
    """The first name the caller's certificate gives, alternative names before the common name."""
    told = context.auth_context()
    for place in ("x509_subject_alternative_name", "x509_common_name"):
        if told.get(place):
            return str(told[place][0].decode(errors="replace"))
    return ""


def _host(peer: str) -> str:
    """Without the port, which is another one with each connection: "ipv4:10.0.0.7:5" -> "10.0.0.7"."""
    kind, _, address = peer.partition(":")
    return address.rpartition(":")[0] if kind in ("ipv4", "ipv6") else kind
