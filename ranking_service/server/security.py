"""TLS for the gRPC port: certificates are checked before they are used, and read again when they are renewed."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from feature_repo.errors import SettingError
from ranking_service.settings_sections import SecuritySettings

DAY = 86_400.0
WARNING_DAYS = 14
"""A certificate that ends within this many days is worth a line in the log."""
PATIENCE_SECONDS = 1.0
"""How often, at most, the files are looked at."""
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which `ssl` does not name: an ended certificate can still be read."""
HANDSHAKE_TURNS = 4

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Certificates:
    """What the PEM files held when they were read; checked to fit together."""

    chain: bytes
    key: bytes
    client_ca: bytes | None
    """None where clients need no certificate."""
    expires_at: float
    """Unix seconds at which the server's own certificate ends."""

    @classmethod
    def read(cls, security: SecuritySettings, *, now: float) -> Certificates:
        """Raises SettingError naming every file that is missing, unusable or out of date."""
        problems: list[str] = []
        chain = _pem(security.tls_certificate, "security.tls_certificate", problems)
        key = _pem(security.tls_key, "security.tls_key", problems)
        client_ca = _pem(security.client_ca, "security.client_ca", problems) if security.client_ca else None
        expires_at = 0.0
        if not problems:
            expires_at = _checked(security, problems, now=now)
        if problems:
            raise SettingError("; ".join(problems))
        return cls(chain, key, client_ca, expires_at)

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(self.key, self.chain)], self.client_ca)


@dataclass
class ServerCertificates:
    """The certificates in use, followed through their renewal."""

    security: SecuritySettings
    current: Certificates
    clock: Callable[[], float] = time.time
    _looked: float = 0.0
    _stamp: tuple[int, ...] = ()
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def read(
        cls, security: SecuritySettings, *, clock: Callable[[], float] = time.time
    ) -> ServerCertificates | None:
        """None where the settings ask for no TLS. Raises SettingError."""
        files = {"tls_certificate": security.tls_certificate, "tls_key": security.tls_key}
        missing = [name for name, value in files.items() if not value]
        if len(missing) == len(files) and not security.client_ca:
            return None
        if missing:
            given = "client_ca" if len(missing) == len(files) else next(iter(files.keys() - set(missing)))
            raise SettingError(
                f"security.{given} is set, but security.{' and security.'.join(missing)} not; TLS needs "
                "tls_certificate and tls_key, and client_ca on top asks clients for a certificate"
            )
        current = Certificates.read(security, now=clock())
        certificates = cls(security, current, clock, clock(), _stamp(security))
        certificates._warn()
        return certificates

    def credentials(self) -> grpc.ServerCredentials:
        """For `add_secure_port`. A renewed file counts from the next handshake on."""
        return grpc.dynamic_ssl_server_credentials(
            self.current.configuration(), self._renewed, self.current.client_ca is not None
        )

    def _renewed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC at every handshake; None keeps what is in use."""
        with self._lock:
            now = self.clock()
            if abs(now - self._looked) < PATIENCE_SECONDS:
                return None
            self._looked = now
            stamp = _stamp(self.security)
            if stamp == self._stamp:
                return None
            self._stamp = stamp
            try:
                self.current = Certificates.read(self.security, now=now)
            except SettingError as error:
                logger.error("the renewed certificate is not used, the one before stays: %s", error)
                return None
            logger.info("the certificate was renewed")
            self._warn()
            return self.current.configuration()

    def _warn(self) -> None:
        days = (self.current.expires_at - self.clock()) / DAY
        if days < WARNING_DAYS:
            logger.warning(
                "the certificate %s ends in %.1f days; renew it", self.security.tls_certificate, days
            )


def server_credentials(
    security: SecuritySettings, *, clock: Callable[[], float] = time.time
) -> grpc.ServerCredentials | None:
    """What `add_secure_port` takes; None means a port without TLS. Raises SettingError naming file and problem."""
    certificates = ServerCertificates.read(security, clock=clock)
    return None if certificates is None else certificates.credentials()


def message_limits(security: SecuritySettings) -> list[tuple[str, int]]:
    """Channel options: gRPC refuses a larger message with RESOURCE_EXHAUSTED, before it is decoded."""
    return [("grpc.max_receive_message_length", security.message_bytes)]


def _pem(path: str, setting: str, problems: list[str]) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        problems.append(f"{setting}: {path} cannot be read: {error.strerror}")
        return b""
    if b"-----BEGIN " not in content:
        problems.append(f"{setting}: {path} is not a PEM file; convert it, or name the right one")
    return content


def _checked(security: SecuritySettings, problems: list[str], *, now: float) -> float:
    """When the server's certificate ends; whatever keeps the files from working together goes to `problems`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        server.load_cert_chain(security.tls_certificate, security.tls_key, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        problems.append(
            f"security.tls_certificate: {security.tls_certificate} and tls_key {security.tls_key} do not work "
            f"together: {_reason(error)}"
        )
        return 0.0
    if security.client_ca:
        try:
            server.load_verify_locations(security.client_ca)
        except ssl.SSLError as error:
            problems.append(
                f"security.client_ca: {security.client_ca} holds no usable certificate: {_reason(error)}"
            )
    try:
        starts, ends = _validity(server, security.tls_certificate)
    except ssl.SSLError as error:
        problems.append(
            f"security.tls_certificate: clients would refuse {security.tls_certificate}: {_reason(error)}"
        )
        return 0.0
    if not starts <= now < ends:
        problems.append(
            f"security.tls_certificate: {security.tls_certificate} holds from {_date(starts)} to {_date(ends)}, "
            "now it does not; renew it, or set the clock"
        )
    return ends


def _validity(server: ssl.SSLContext, certificate: str) -> tuple[float, float]:
    """From when to when, in Unix seconds, as a client of an in-memory handshake is shown it."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(certificate)
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (client.wrap_bio(back, there), server.wrap_bio(there, back, server_side=True))
    for _ in range(HANDSHAKE_TURNS):
        for end in ends:
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    shown = ends[0].getpeercert() or {}
    starts, expires = (ssl.cert_time_to_seconds(str(shown[name])) for name in ("notBefore", "notAfter"))
    return starts, expires


def _no_password() -> str:
    raise ValueError("the key is encrypted; store it without a pass phrase, readable by the server only")


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or error).replace("_", " ").lower()


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _stamp(security: SecuritySettings) -> tuple[int, ...]:
    """Changes when one of the files does; a file that is gone for a moment counts as 0."""
    stamps = []
    for path in (security.tls_certificate, security.tls_key, security.client_ca):
        try:
            stamps.append(Path(path).stat().st_mtime_ns if path else 0)
        except OSError:
            stamps.append(0)
    return tuple(stamps)
