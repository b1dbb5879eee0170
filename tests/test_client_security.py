"""Certificates and tokens: checked on both ends, secrets from files and the environment only."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from scripted_server import Script, connected, scripted

from feature_repo.errors import SettingError
from ranking_service.client import ClientSecurity, RankingClient, RetryPolicy, UnavailableError

ANN: dict[str, Any] = {"user_id": "ann", "candidate_ids": ["a"], "timeout": 5}
BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
ONCE = RetryPolicy(attempts=1)
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl on PATH to make certificates"
)


def openssl(folder: Path, line: str) -> None:
    subprocess.run(["openssl", *line.split()], check=True, capture_output=True, cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and server.pem and client.pem signed by it, each with its key; other.pem is signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    new = "req -newkey rsa:2048 -nodes -subj /CN={name} -keyout {name}.key"
    openssl(folder, new.format(name="ca") + " -x509 -days 2 -out ca.pem")
    openssl(folder, new.format(name="other") + " -x509 -days 2 -out other.pem")
    (folder / "names").write_text("subjectAltName=DNS:rank.example,IP:127.0.0.1")
    for name in ("server", "client"):
        openssl(folder, new.format(name=name) + f" -out {name}.csr")
        signed = f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names"
        openssl(folder, f"{signed} -out {name}.pem")
    return folder


def server_credentials(folder: Path, *, mutual: bool = False) -> grpc.ServerCredentials:
    pair = ((folder / "server.key").read_bytes(), (folder / "server.pem").read_bytes())
    ca = (folder / "ca.pem").read_bytes() if mutual else None
    return grpc.ssl_server_credentials([pair], ca, require_client_auth=mutual)


@needs_openssl
@BOTH
def test_the_servers_certificate_is_checked(kind: str, folder: Path) -> None:
    with scripted(Script(), credentials=server_credentials(folder)) as address:
        trusted = ClientSecurity(ca_file=folder / "ca.pem")
        with connected(kind, address, security=trusted) as client:
            assert client.rank(**ANN).items
        named = replace(trusted, server_name="rank.example")
        with connected(kind, address, security=named) as client:
            assert client.rank(**ANN).items
        wrong = [
            ClientSecurity(),
            ClientSecurity(tls=True),
            ClientSecurity(ca_file=folder / "other.pem"),
            replace(trusted, server_name="other.example"),
        ]
        for security in wrong:
            with (
                connected(kind, address, security=security, retry=ONCE) as client,
                pytest.raises(UnavailableError),
            ):
                client.rank(**ANN)


@needs_openssl
@BOTH
def test_a_server_may_ask_for_the_clients_certificate(kind: str, folder: Path) -> None:
    bare = ClientSecurity(ca_file=folder / "ca.pem")
    known = replace(bare, certificate_file=folder / "client.pem", key_file=folder / "client.key")
    stranger = replace(bare, certificate_file=folder / "other.pem", key_file=folder / "other.key")
    with scripted(Script(), credentials=server_credentials(folder, mutual=True)) as address:
        with connected(kind, address, security=known) as client:
            assert client.rank(**ANN).items
        for security in (bare, stranger):
            with (
                connected(kind, address, security=security, retry=ONCE) as client,
                pytest.raises(UnavailableError),
            ):
                client.rank(**ANN)


@BOTH
def test_every_call_carries_the_token_and_a_new_one_is_taken_up(kind: str, tmp_path: Path) -> None:
    from ranking_service.client import RankRequest

    file = tmp_path / "token"
    file.write_text("first\n")
    script = Script()
    request = RankRequest(user_id="ann", candidate_ids=["a"])
    with (
        scripted(script) as address,
        connected(kind, address, security=ClientSecurity(token_file=file)) as client,
    ):
        client.rank(**ANN)
        client.rank_many([request])
        list(client.rank_stream([request]))
        file.write_text("second")
        client.rank(**ANN)
    sent = [metadata.get("authorization") for metadata in script.metadata]
    assert sent == ["Bearer first"] * 3 + ["Bearer second"]


def test_without_a_token_nothing_is_sent() -> None:
    script = Script()
    with scripted(script) as address, RankingClient.connect(address) as client:
        client.rank(**ANN)
    assert "authorization" not in script.metadata[0]


def test_the_environment_names_files_and_holds_the_token(tmp_path: Path) -> None:
    security = ClientSecurity.from_environment(
        {
            "MARQUEE_TLS_CA": "/ca",
            "MARQUEE_TLS_CERTIFICATE": "/certificate",
            "MARQUEE_TLS_KEY": "/key",
            "MARQUEE_TOKEN": " secret\n",
        }
    )
    assert (security.ca_file, security.certificate_file, security.key_file) == (
        Path("/ca"),
        Path("/certificate"),
        Path("/key"),
    )
    assert security.encrypted
    assert security.metadata() == (("authorization", "Bearer secret"),)
    assert "secret" not in repr(security)
    assert ClientSecurity.from_environment({"MARQUEE_TOKEN": ""}) == ClientSecurity()
    (tmp_path / "token").write_text("from-the-file")
    filed = ClientSecurity.from_environment({"MARQUEE_TOKEN_FILE": str(tmp_path / "token")})
    assert filed.metadata() == (("authorization", "Bearer from-the-file"),)


def test_a_token_does_not_leave_the_machine_in_plain_text() -> None:
    security = ClientSecurity(token="secret")
    with pytest.raises(SettingError, match=r"10\.0\.0\.7:1.*use TLS") as caught:
        RankingClient.connect("127.0.0.1:1,10.0.0.7:1", security=security)
    assert "secret" not in str(caught.value)
    for address in ("127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/socket"):
        RankingClient.connect(address, security=security).close()
    RankingClient.connect("10.0.0.7:1", security=replace(security, plain_token=True)).close()
    RankingClient.connect("10.0.0.7:1", security=replace(security, tls=True)).close()


@pytest.mark.parametrize("content", ["", "  \n", "two words", "line\nline", "naïve", "tab\tbed"])
def test_what_is_no_token_is_refused_before_anything_is_sent(content: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(content)
    with pytest.raises(SettingError, match="holds no token"):
        RankingClient.connect("127.0.0.1:1", security=ClientSecurity(token_file=file))


def test_files_that_are_not_there_or_not_pem_are_named(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("not a certificate")
    for security in (
        ClientSecurity(ca_file=tmp_path / "gone"),
        ClientSecurity(ca_file=other),
        ClientSecurity(certificate_file=other, key_file=other),
        ClientSecurity(token_file=tmp_path / "gone"),
    ):
        with pytest.raises(SettingError, match=str(tmp_path)):
            RankingClient.connect("127.0.0.1:1", security=security)
    with pytest.raises(SettingError, match="needs its key"):
        RankingClient.connect("127.0.0.1:1", security=ClientSecurity(certificate_file=other))
