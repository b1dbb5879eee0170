"""Lets in who shows a token. Tokens come from a file or the environment; they are never logged."""

from __future__ import annotations

import hmac
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from feature_repo.errors import SettingError
from ranking_service.server.callers import TOKEN_NAME

TOKENS_VARIABLE = "MARQUEE_TOKENS"
"""`name:token` pairs, separated by spaces or lines."""
OPEN_TO_ALL = ("/grpc.health.v1.Health/",)
"""Services that need no token: who watches over the server may not have one."""
SHORTEST_TOKEN = 16
PATIENCE_SECONDS = 1.0
"""How often, at most, the file is looked at."""
ASK = "send metadata `authorization: Bearer <token>` or `x-api-key: <token>`"

logger = logging.getLogger(__name__)
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


@dataclass(frozen=True)
class Tokens:
    """Names by the hash of their tokens; one name may have several, as it does while one is replaced."""

    names: Mapping[bytes, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str, *, origin: str) -> Tokens:
        """Pairs separated by white space; lines that begin with # are comments.

        Raises SettingError naming the place, never the token.
        """
        names: dict[bytes, str] = {}
        for number, pair in _pairs(text):
            name, colon, token = pair.partition(":")
            if not (name and colon) or len(token) < SHORTEST_TOKEN:
                raise SettingError(
                    f"{origin}, line {number}: write name:token, the token at least {SHORTEST_TOKEN} characters, "
                    "such as `openssl rand -hex 32` makes"
                )
            names[_digest(token)] = name
        if not names:
            raise SettingError(f"{origin} holds no token, so that nobody could call; add a line name:token")
        return cls(names)

    def name_of(self, token: str) -> str | None:
        """Compares with every token, each in constant time: how long it takes tells nothing."""
        found, shown = None, _digest(token)
        for digest, name in self.names.items():
            if hmac.compare_digest(digest, shown):
                found = name
        return found


@dataclass
class TokenStore:
    """The tokens in force, read again when their file changes."""

    path: Path | None
    variable: str
    clock: Callable[[], float] = time.monotonic
    _tokens: Tokens = field(default_factory=Tokens)
    _stamp: tuple[int, int] = (0, 0)
    _looked: float = 0.0

    @classmethod
    def read(
        cls,
        tokens_file: str,
        environment: Mapping[str, str] = os.environ,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> TokenStore | None:
        """None where neither file nor variable is set. Raises SettingError."""
        variable = environment.get(TOKENS_VARIABLE, "")
        if not tokens_file and not variable:
            return None
        store = cls(Path(tokens_file) if tokens_file else None, variable, clock)
        store._load()
        return store

    def name_of(self, token: str) -> str | None:
        """Whose token this is."""
        now = self.clock()
        if self.path is not None and now - self._looked >= PATIENCE_SECONDS:
            self._looked = now
            self._renew()
        return self._tokens.name_of(token)

    def _renew(self) -> None:
        try:
            if _stamp(self.path) != self._stamp:
                self._load()
                logger.info("%s was read again: %d tokens", self.path, len(self._tokens.names))
        except SettingError as error:
            logger.error("the tokens read before stay in force: %s", error)

    def _load(self) -> None:
        names = dict(Tokens.parse(self.variable, origin=TOKENS_VARIABLE).names) if self.variable else {}
        if self.path is not None:
            self._stamp = _stamp(self.path)
            names |= Tokens.parse(_text(self.path), origin=str(self.path)).names
        self._tokens = Tokens(names)


class TokenInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses calls without a known token; the others carry the token's name in `TOKEN_NAME`."""

    def __init__(self, store: TokenStore) -> None:
        self.store = store

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None or handler_call_details.method.startswith(OPEN_TO_ALL):
            return handler
        token = _shown(handler_call_details.invocation_metadata)
        if not token:
            return _refusing(handler, f"this server asks for a token; {ASK}")
        name = self.store.name_of(token)
        if name is None:
            return _refusing(handler, f"this token is not known here; {ASK} of this server's")
        TOKEN_NAME.set(name)
        return handler


def _shown(metadata: Any) -> str:
    """The token that came with the call; empty without one."""
    for key, value in metadata:
        if not isinstance(value, str):
            continue
        if key == "x-api-key":
            return value.strip()
        if key == "authorization" and value[:7].lower() == "bearer ":
            return value[7:].strip()
    return ""


def _refusing(handler: Any, message: str) -> Any:
    """A handler of the same shape that only refuses; it does not even decode the request."""

    async def refuse(_: Any, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, message)

    if handler.request_streaming:
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(refuse)
        return grpc.stream_unary_rpc_method_handler(refuse)
    if handler.response_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse)
    return grpc.unary_unary_rpc_method_handler(refuse)


def _digest(token: str) -> bytes:
    return sha256(token.encode(errors="surrogatepass")).digest()


def _pairs(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.lstrip().startswith("#"):
            yield from ((number, pair) for pair in line.split())


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingError(f"security.tokens_file: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise SettingError(f"security.tokens_file: {path} is not a text file") from error


def _stamp(path: Path | None) -> tuple[int, int]:
    """Changes when the file does."""
    try:
        told = Path(path or "").stat()
    except OSError as error:
        raise SettingError(f"security.tokens_file: {path} cannot be read: {error.strerror}") from error
    return told.st_mtime_ns, told.st_ino
