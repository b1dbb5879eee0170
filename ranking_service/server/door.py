"""Who comes in, and how: TLS, tokens, readable messages, each caller's share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from feature_repo.errors import SettingError
from ranking_service.server.messages import ReadableMessages
from ranking_service.server.rate_limit import RateLimiter
from ranking_service.server.security import ServerCertificates, message_limits
from ranking_service.server.tokens import TokenInterceptor, TokenStore
from ranking_service.settings_sections import SecuritySettings


@dataclass(frozen=True)
class Door:
    """What the settings and the environment say about security, ready for use."""

    options: tuple[tuple[str, int], ...]
    """gRPC's, for the server."""
    interceptors: tuple[Any, ...]
    certificates: ServerCertificates | None
    """None speaks no TLS."""
    limiter: RateLimiter | None

    @classmethod
    def open(cls, security: SecuritySettings) -> Door:
        """Raises SettingError naming file and problem."""
        store = TokenStore.read(security.tokens_file)
        tokens = () if store is None else (TokenInterceptor(store),)
        return cls(
            tuple(message_limits(security)),
            (*tokens, ReadableMessages()),
            ServerCertificates.read(security),
            RateLimiter.of(security),
        )

    def bind(self, server: Any, host: str, port: int) -> int:
        """The port as bound; 0 picks a free one. Raises SettingError for one that is taken."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self.certificates is None:
                bound: int = server.add_insecure_port(address)
            else:
                bound = server.add_secure_port(address, self.certificates.credentials())
        except RuntimeError as error:
            raise SettingError(f"cannot listen on {address}; choose a free port, or 0 for any") from error
        return bound
