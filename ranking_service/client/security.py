"""What the client shows and checks: certificates and a token. Secrets come from files or the environment only."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from feature_repo.errors import SettingError

TOKEN_VARIABLE = "MARQUEE_TOKEN"
VARIABLES = {
    "ca_file": "MARQUEE_TLS_CA",
    "certificate_file": "MARQUEE_TLS_CERTIFICATE",
    "key_file": "MARQUEE_TLS_KEY",
    "token_file": "MARQUEE_TOKEN_FILE",
}
LOOPBACK = ("127.", "localhost:", "[::1]:", "unix:", "unix-abstract:")

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ClientSecurity:
    """Without any of it, calls are plain text without a token."""

    tls: bool = False
    """TLS with the system's authorities; the files below imply it."""
    ca_file: Path | None = None
    """PEM file of the authorities that may have signed the server's certificate."""
    certificate_file: Path | None = None
    """PEM file of the client's certificate (mTLS), with ..."""
    key_file: Path | None = None
    """... its key."""
    server_name: str = ""
    """The name in the server's certificate, where the address is another."""
    token_file: Path | None = None
    """Holds the token; read at each call, so that it may be replaced."""
    token: str = field(default="", repr=False)
    """From the environment: see `from_environment`."""
    plain_token: bool = False
    """Send the token without TLS to other machines too, as behind a proxy that adds TLS."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> ClientSecurity:
        """MARQUEE_TLS_CA, MARQUEE_TLS_CERTIFICATE, MARQUEE_TLS_KEY, MARQUEE_TOKEN_FILE name files; MARQUEE_TOKEN is
        the token itself.
        """
        files = {
            name: Path(environment[variable])
            for name, variable in VARIABLES.items()
            if environment.get(variable)
        }
        return cls(**files, token=environment.get(TOKEN_VARIABLE, ""))  # type: ignore[arg-type]

    @property
    def encrypted(self) -> bool:
        return self.tls or bool(self.ca_file or self.certificate_file or self.key_file)

    def checked(self, addresses: Sequence[str]) -> ClientSecurity:
        """Itself. Raises SettingError for halves of a pair, or a token that others on the way could read."""
        if bool(self.certificate_file) != bool(self.key_file):
            raise SettingError(
                "a client certificate needs its key, and a key its certificate; give both or none"
            )
        with_token = bool(self.token or self.token_file)
        away = [address for address in addresses if not address.startswith(LOOPBACK)]
        if with_token and not self.encrypted and away and not self.plain_token:
            raise SettingError(
                f"a token would go to {away[0]} readable by everybody on the way; use TLS (ca_file, --ca), or say "
                "plain_token=True where a proxy adds it"
            )
        self.metadata()
        return self

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None for plain text. Raises SettingError for a file that cannot be read."""
        if not self.encrypted:
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=_pem(self.ca_file, "CA"),
            private_key=_pem(self.key_file, "key"),
            certificate_chain=_pem(self.certificate_file, "certificate"),
        )

    def metadata(self) -> Metadata:
        """What each call carries. Raises SettingError when the token's file cannot be read."""
        token = self._token()
        return (("authorization", f"Bearer {token}"),) if token else ()

    def _token(self) -> str:
        if self.token_file is None:
            return _usable(self.token, TOKEN_VARIABLE) if self.token else ""
        try:
            text = self.token_file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise SettingError(f"token file {self.token_file} cannot be read ({error})") from error
        return _usable(text, str(self.token_file))


def _usable(text: str, source: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise SettingError(f"{source} holds no token; expected one line of printable ASCII without spaces")
    return token


def _pem(path: Path | None, what: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingError(f"{what} file {path} cannot be read: {error.strerror}") from error
    if b"-----BEGIN" not in content:
        raise SettingError(f"{what} file {path} is no PEM file; it starts with -----BEGIN")
    return content
