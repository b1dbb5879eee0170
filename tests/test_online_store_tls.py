"""The online store over TLS: a real handshake, ended by a small proxy before a Redis that speaks none itself."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from online_store_world import feature_store
from test_online_store_servers import prove_a_round_trip

from feature_repo.errors import OnlineStoreError
from materialization.data_plane.online.handshake import Endpoint
from materialization.data_plane.online.pipelined import PipelinedLink
from materialization.data_plane.online.redis_address import Address

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl on PATH to make a certificate"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made = (
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *made.split(), *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def tls_port(certificate: tuple[Path, Path], redis_url: str) -> Iterator[int]:
    """A port of localhost behind which Redis answers over TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    redis_port = int(redis_url.rsplit(":", 1)[1].split("/")[0])
    with socket.create_server(("localhost", 0)) as server:
        accepting = threading.Thread(target=_accept, args=(server, context, redis_port), daemon=True)
        accepting.start()
        yield server.getsockname()[1]


def _accept(server: socket.socket, context: ssl.SSLContext, redis_port: int) -> None:
    with suppress(OSError):
        while True:
            plain, _ = server.accept()
            threading.Thread(target=_serve, args=(plain, context, redis_port), daemon=True).start()


def _serve(plain: socket.socket, context: ssl.SSLContext, redis_port: int) -> None:
    with (
        suppress(OSError),
        context.wrap_socket(plain, server_side=True) as client,
        socket.create_connection(("127.0.0.1", redis_port)) as server,
    ):
        threading.Thread(target=_pump, args=(server, client), daemon=True).start()
        _pump(client, server)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def test_rows_go_and_come_over_tls_with_the_servers_certificate_checked(
    tls_port: int, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    address = f"localhost:{tls_port},ssl=true,ssl_cert_reqs=required,ssl_ca_certs={certificate[0]}"
    prove_a_round_trip(
        feature_store(tmp_path, address, command_timeout_ms=2000, connect_timeout_ms=2000), tmp_path
    )


def test_a_url_works_too(tls_port: int, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    address = f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificate[0]}"
    prove_a_round_trip(
        feature_store(tmp_path, address, command_timeout_ms=2000, connect_timeout_ms=2000), tmp_path
    )


def test_a_server_whose_certificate_nobody_vouches_for_is_refused(tls_port: int, tmp_path: Path) -> None:
    address = f"localhost:{tls_port},ssl=true,ssl_cert_reqs=required"
    with pytest.raises(OnlineStoreError, match="certificate"):
        prove_a_round_trip(feature_store(tmp_path, address, connect_timeout_ms=2000), tmp_path)


async def read(address: str) -> list[bytes | None]:
    link = PipelinedLink(Endpoint(Address.parse(address), 2.0))
    try:
        return await link.read([b"k"], [], seconds=4.0)
    finally:
        await link.close()


def test_the_connections_that_requests_share_speak_tls_too(
    tls_port: int, certificate: tuple[Path, Path]
) -> None:
    known = f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificate[0]}"
    assert asyncio.run(read(known)) == [None]
    with pytest.raises(OnlineStoreError, match="certificate"):
        asyncio.run(read(f"localhost:{tls_port},ssl=true,ssl_cert_reqs=required"))
    with pytest.raises(OnlineStoreError):
        asyncio.run(read(f"redis://localhost:{tls_port}/0"))
