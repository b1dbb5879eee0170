"""The server's doors over real channels: TLS, client certificates, tokens, rate limits, message sizes."""

from __future__ import annotations

import asyncio
import logging
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import OverloadedError, SettingError
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.callers import caller, label
from ranking_service.server.messages import ReadableMessages
from ranking_service.server.rate_limit import RateLimiter
from ranking_service.server.security import (
    Certificates,
    ServerCertificates,
    message_limits,
    server_credentials,
)
from ranking_service.server.tokens import TokenInterceptor, Tokens, TokenStore
from ranking_service.server.watch import Watch
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import SecuritySettings

WEB, APP = "web-token-0123456789", "app-token-0123456789"
DAY = 86_400.0
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="no openssl on PATH to make certificates"
)


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a folder, and what it signs."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.pem"

    def open(self) -> Authority:
        made = "req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=ca -addext keyUsage=keyCertSign"
        openssl(made, "-keyout", self.folder / "ca.key", "-out", self.certificate)
        return self

    def sign(self, name: str, *, days: int = 365) -> tuple[Path, Path]:
        """Certificate and key of a host of that name, good for localhost as well."""
        certificate, key, request = (self.folder / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        openssl("req -newkey rsa:2048 -nodes", "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        extensions = self.folder / f"{name}.ext"
        extensions.write_text(f"subjectAltName=DNS:{name},DNS:localhost\n")
        signing = ["-CA", self.certificate, "-CAkey", self.folder / "ca.key", "-extfile", extensions]
        openssl(f"x509 -req -CAcreateserial -days {days}", "-in", request, "-out", certificate, *signing)
        return certificate, key


def openssl(words: str, *more: object) -> None:
    subprocess.run(["openssl", *words.split(), *map(str, more)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours")).open()


@pytest.fixture(scope="module")
def server_pair(authority: Authority) -> tuple[Path, Path]:
    return authority.sign("ranking")


def tls(pair: tuple[Path, Path], **more: str) -> SecuritySettings:
    return SecuritySettings(tls_certificate=str(pair[0]), tls_key=str(pair[1]), **more)


class Echo(ranking_pb2_grpc.RankingServiceServicer):  # type: ignore[misc]
    """Answers with the caller's name as the request's id."""

    async def Rank(self, request: Any, context: Any) -> Any:  # noqa: ARG002
        return ranking_pb2.RankResponse(request_id=caller(context))

    async def RankStream(self, requests: Any, context: Any) -> Any:
        async for _ in requests:
            yield ranking_pb2.RankResult(request_id=caller(context))


@asynccontextmanager
async def echoing(security: SecuritySettings, store: TokenStore | None = None) -> AsyncIterator[int]:
    """The port of a server with these doors."""
    interceptors = [*([TokenInterceptor(store)] if store is not None else []), ReadableMessages()]
    server = grpc.aio.server(interceptors=interceptors, options=message_limits(security))
    ranking_pb2_grpc.add_RankingServiceServicer_to_server(Echo(), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    credentials = server_credentials(security)
    address = "localhost:0"
    port = (
        server.add_insecure_port(address)
        if credentials is None
        else server.add_secure_port(address, credentials)
    )
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def ask(channel: Any, *metadata: tuple[str, str], user: str = "ann") -> str:
    """The name under which the server knows the caller; a status's name when it refuses."""
    stub = ranking_pb2_grpc.RankingServiceStub(channel)
    request = ranking_pb2.RankRequest(user_id=user, candidate_ids=["a"])
    try:
        answer = await stub.Rank(request, metadata=metadata, timeout=5)
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return str(answer.request_id)


def run(steps: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return asyncio.run(steps())


def credentials(authority: Authority, pair: tuple[Path, Path] | None = None) -> grpc.ChannelCredentials:
    root = authority.certificate.read_bytes()
    if pair is None:
        return grpc.ssl_channel_credentials(root)
    return grpc.ssl_channel_credentials(root, pair[1].read_bytes(), pair[0].read_bytes())


def test_without_settings_there_is_no_tls_and_no_token() -> None:
    assert server_credentials(SecuritySettings()) is None
    assert TokenStore.read("", {}) is None
    assert RateLimiter.of(SecuritySettings()) is None


@needs_openssl
def test_a_tls_server_answers_who_trusts_its_authority_and_nobody_in_the_clear(
    authority: Authority, server_pair: tuple[Path, Path]
) -> None:
    async def steps() -> list[str]:
        async with echoing(tls(server_pair)) as port:
            target = f"localhost:{port}"
            async with (
                grpc.aio.secure_channel(target, credentials(authority)) as trusting,
                grpc.aio.secure_channel(target, grpc.ssl_channel_credentials()) as stranger,
                grpc.aio.insecure_channel(target) as plain,
            ):
                return [await ask(channel) for channel in (trusting, stranger, plain)]

    trusting, stranger, plain = run(steps)
    assert trusting.startswith("address:")
    assert stranger.startswith("UNAVAILABLE")
    assert plain.startswith("UNAVAILABLE")


@needs_openssl
def test_with_a_client_authority_a_caller_needs_its_certificate_and_is_known_by_it(
    authority: Authority, server_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    foreign = Authority(tmp_path).open()
    web, forged = authority.sign("web"), foreign.sign("web")
    security = tls(server_pair, client_ca=str(authority.certificate))

    async def steps() -> list[str]:
        async with echoing(security) as port:
            answers = []
            for pair in (web, forged, None):
                shown = credentials(authority, pair)
                async with grpc.aio.secure_channel(f"localhost:{port}", shown) as channel:
                    answers.append(await ask(channel))
            return answers

    known, forged_one, none = run(steps)
    assert known == "certificate:web"
    assert forged_one.startswith("UNAVAILABLE")
    assert none.startswith("UNAVAILABLE")


@needs_openssl
def test_a_renewed_certificate_counts_from_the_next_connection_on(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ranking_service.server.security.PATIENCE_SECONDS", 0.0)
    old, new = authority.sign("old"), authority.sign("new")
    pair = (tmp_path / "tls.pem", tmp_path / "tls.key")

    def install(source: tuple[Path, Path]) -> None:
        for there, here in zip(source, pair, strict=True):
            here.write_bytes(there.read_bytes())

    async def asked_as(name: str, port: int) -> str:
        options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
        target = f"localhost:{port}"
        async with grpc.aio.secure_channel(target, credentials(authority), options) as channel:
            return (await ask(channel)).partition(":")[0]

    async def steps() -> list[str]:
        install(old)
        async with echoing(tls(pair)) as port:
            before = [await asked_as("old", port), await asked_as("new", port)]
            install(new)
            after = [await asked_as("new", port), await asked_as("old", port)]
            pair[0].write_text("damaged")
            return [*before, *after, await asked_as("new", port)]

    assert run(steps) == ["address", "UNAVAILABLE", "address", "UNAVAILABLE", "address"]


@needs_openssl
def test_files_that_cannot_work_are_named_before_the_server_starts(
    authority: Authority, server_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    other = authority.sign("other")
    text = tmp_path / "text.pem"
    text.write_text("not PEM")
    empty_frame = tmp_path / "frame.pem"
    empty_frame.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    gone = str(tmp_path / "gone.pem")
    locked = tmp_path / "locked.key"
    openssl("rsa -aes128 -passout pass:secret", "-in", server_pair[1], "-out", locked)
    wrong = {
        "values mismatch": tls((server_pair[0], other[1])),
        f"tls_certificate: {gone} cannot be read: No such file": tls((Path(gone), server_pair[1])),
        f"tls_key: {gone} cannot be read": tls((server_pair[0], Path(gone))),
        f"{text} is not a PEM file": tls(server_pair, client_ca=str(text)),
        f"{empty_frame} holds no usable certificate": tls(server_pair, client_ca=str(empty_frame)),
        "without a pass phrase": tls((server_pair[0], locked)),
        "security.tls_certificate is set, but security.tls_key not": SecuritySettings(tls_certificate=gone),
        "security.client_ca is set, but": SecuritySettings(client_ca=gone),
    }
    for said, security in wrong.items():
        with pytest.raises(SettingError) as caught:
            server_credentials(security)
        assert said in str(caught.value)


@needs_openssl
def test_a_certificate_that_has_ended_is_refused_and_one_that_soon_ends_is_told(
    server_pair: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    now = time.time()
    with caplog.at_level(logging.WARNING):
        assert ServerCertificates.read(tls(server_pair), clock=lambda: now) is not None
        assert not caplog.messages
        assert ServerCertificates.read(tls(server_pair), clock=lambda: now + 360 * DAY) is not None
    assert "ends in 5.0 days" in caplog.messages[0]
    for when in (now + 366 * DAY, now - 2 * DAY):
        with pytest.raises(SettingError, match="now it does not"):
            server_credentials(tls(server_pair), clock=lambda when=when: when)
    assert Certificates.read(tls(server_pair), now=now).expires_at == pytest.approx(now + 365 * DAY, abs=600)


def test_a_token_lets_in_and_names_the_caller_and_health_needs_none() -> None:
    store = TokenStore.read("", {"MARQUEE_TOKENS": f"web:{WEB} app:{APP}"})
    assert store is not None
    bearer = [("authorization", f"Bearer {WEB}")]

    async def steps() -> tuple[list[str], list[str], int]:
        async with echoing(SecuritySettings(), store) as port, open_channel(port) as channel:
            answers = [
                await ask(channel, *metadata)
                for metadata in (
                    bearer,
                    [("authorization", f"bearer {WEB}")],
                    [("x-api-key", APP)],
                    [],
                    [("authorization", WEB)],
                    [("authorization", f"Bearer {WEB}x")],
                    [("x-api-key", "")],
                    [("authorization", "Basic d2ViOndlYg==")],
                )
            ]
            stub = ranking_pb2_grpc.RankingServiceStub(channel)
            streamed = [
                result.request_id async for result in stub.RankStream(messages(2), metadata=bearer, timeout=5)
            ]
            refused = await stream_status(stub)
            streamed.append(refused)
            check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
            return answers, streamed, (await check).status

    answers, streamed, status = run(steps)
    assert answers[:3] == ["token:web", "token:web", "token:app"]
    assert all(answer.startswith("UNAUTHENTICATED") for answer in answers[3:])
    assert not any(secret in answer for answer in answers for secret in (WEB, APP))
    assert streamed == ["token:web", "token:web", "UNAUTHENTICATED"]
    assert status == health_pb2.HealthCheckResponse.SERVING


def open_channel(port: int) -> Any:
    return grpc.aio.insecure_channel(f"localhost:{port}")


async def messages(count: int) -> AsyncIterator[Any]:
    for number in range(count):
        yield ranking_pb2.RankRequest(user_id=str(number), candidate_ids=["a"])


async def stream_status(stub: Any) -> str:
    """What a stream opened without a token ends with."""
    call = stub.RankStream(messages(1), timeout=5)
    try:
        async for _ in call:
            pass
    except grpc.aio.AioRpcError as error:
        return str(error.code().name)
    return "answered"


def test_tokens_are_replaced_without_a_restart_and_a_damaged_file_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    path = tmp_path / "tokens"
    path.write_text(f"# who may call\nweb:{WEB}\n")
    store = TokenStore.read(str(path), {}, clock=lambda: now[0])
    assert store is not None
    assert (store.name_of(WEB), store.name_of(APP)) == ("web", None)

    def written(text: str) -> None:
        beside = tmp_path / "beside"
        beside.write_text(text)
        beside.replace(path)
        now[0] += 2

    written(f"web:{WEB}\nweb:{APP}\n")
    assert (store.name_of(WEB), store.name_of(APP)) == ("web", "web")
    written(f"web:{APP}\n")
    assert (store.name_of(WEB), store.name_of(APP)) == (None, "web")
    with caplog.at_level(logging.ERROR):
        written("web=nonsense-without-a-colon\n")
        assert store.name_of(APP) == "web"
        path.unlink()
        now[0] += 2
        assert store.name_of(APP) == "web"
    assert "stay in force" in caplog.text
    assert "nonsense" not in caplog.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no token"),
        ("# only a comment", "holds no token"),
        ("web", "line 1"),
        (f"\n:{WEB}", "line 2"),
        ("web:short", "at least 16 characters"),
    ],
)
def test_tokens_that_cannot_be_used_are_told_by_their_line(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(SettingError, match=said):
        TokenStore.read(str(path), {})
    with pytest.raises(SettingError, match="cannot be read"):
        TokenStore.read(str(tmp_path / "gone"), {})


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_other_text_passes_for_a_token(secret: str, shown: str) -> None:
    token = "0123456789abcdef" + secret.encode(errors="surrogatepass").hex()
    tokens = Tokens.parse(f"web:{token}", origin="here")
    assert tokens.name_of(token) == "web"
    assert tokens.name_of(shown) is None


@pytest.mark.parametrize("size", [10_000, 100_000])
def test_a_message_over_the_limit_is_refused_before_it_is_read(size: int) -> None:
    async def steps() -> str:
        async with (
            echoing(SecuritySettings(message_bytes=50_000)) as port,
            open_channel(port) as channel,
        ):
            return await ask(channel, user="x" * size)

    assert run(steps).startswith("address:" if size < 50_000 else "RESOURCE_EXHAUSTED")


@pytest.mark.parametrize("message", [b"\xff\xff\xff", b"\x12\x02\xff\xfe", b"\x0a\x7fshort"])
def test_bytes_that_are_no_message_are_the_callers_mistake(message: bytes) -> None:
    async def steps() -> list[tuple[str, str]]:
        async with echoing(SecuritySettings()) as port, open_channel(port) as channel:
            found = []
            unary = channel.unary_unary("/marquee.ranking.v1.RankingService/Rank")
            stream = channel.stream_stream("/marquee.ranking.v1.RankingService/RankStream")
            for call in (unary(message, timeout=5), one_answer(stream([message], timeout=5))):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call
                found.append((caught.value.code().name, caught.value.details().partition(":")[0]))
            found.append((await ask(channel), ""))
            return found

    refused = ("INVALID_ARGUMENT", "request")
    unary, streamed, (still, _) = run(steps)
    assert (unary, streamed) == (refused, refused)
    assert still.startswith("address:")


async def one_answer(call: Any) -> Any:
    async for answer in call:
        return answer
    return None


def test_callers_behind_one_address_are_one_and_labels_stay_few() -> None:
    @dataclass(frozen=True)
    class From:
        peer_text: str
        told: dict[str, Sequence[bytes]]

        def peer(self) -> str:
            return self.peer_text

        def auth_context(self) -> dict[str, Sequence[bytes]]:
            return self.told

    names = [
        caller(From(peer, told))
        for peer, told in (
            ("ipv4:10.0.0.7:4711", {}),
            ("ipv4:10.0.0.7:4712", {}),
            ("ipv6:[::1]:4711", {}),
            ("unix:", {}),
            ("ipv4:10.0.0.7:1", {"x509_common_name": [b"web"]}),
        )
    ]
    assert names == ["address:10.0.0.7"] * 2 + ["address:[::1]", "address:unix", "certificate:web"]
    certified = From("ipv4:10.0.0.7:1", {"x509_common_name": [b"web"]})
    assert caller(certified, asks_certificate=False) == "address:10.0.0.7"
    for security, name in (
        (SecuritySettings(client_ca="ca.pem"), "certificate:web"),
        (SecuritySettings(), "address:10.0.0.7"),
    ):
        assert Watch.start(ServiceSettings(security=security), ()).call(certified).caller == name
    assert [label(name) for name in (*names, "token:app")] == ["anonymous"] * 4 + ["certificate", "app"]


@pytest.fixture
def moment() -> list[float]:
    return [1000.0]


def test_a_caller_gets_its_burst_then_its_rate_and_is_told_how_long_to_wait(moment: list[float]) -> None:
    limiter = RateLimiter(10.0, 5, clock=lambda: moment[0])
    assert [limiter.wait_seconds("web") for _ in range(5)] == [0.0] * 5
    wait = limiter.wait_seconds("web")
    assert wait == pytest.approx(0.1)
    assert limiter.wait_seconds("app") == 0.0, "another's use is not this one's"
    moment[0] += wait
    assert limiter.wait_seconds("web") == 0.0
    assert limiter.wait_seconds("web") > 0


def test_the_refusal_says_when_to_try_again_and_is_counted(moment: list[float]) -> None:
    limiter = RateLimiter(10.0, 1, clock=lambda: moment[0])
    limiter.check("token:web")
    with pytest.raises(OverloadedError, match="of token:web; send fewer") as caught:
        limiter.check("token:web", 3)
    assert caught.value.retry_after_seconds == pytest.approx(0.1)
    assert limiter.refused == 3


def test_a_call_of_many_requests_costs_them_all_and_is_possible_beyond_the_burst(moment: list[float]) -> None:
    limiter = RateLimiter(10.0, 5, clock=lambda: moment[0])
    assert limiter.wait_seconds("web", 12) == 0.0
    assert limiter.wait_seconds("web") == pytest.approx(0.8)
    assert limiter.wait_seconds("web", 12) == pytest.approx(1.2), "only with a full bucket"


def test_callers_are_forgotten_so_that_memory_is_bounded(moment: list[float]) -> None:
    limiter = RateLimiter(10.0, 5, clock=lambda: moment[0], most_callers=3)
    for number in range(100):
        limiter.wait_seconds(f"address:{number}")
    assert len(limiter) == 3


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4)), min_size=1, max_size=60))
def test_never_more_than_the_burst_and_the_rate_over_any_span(steps: list[tuple[float, int]]) -> None:
    now, taken = [0.0], []
    limiter = RateLimiter(2.0, 4, clock=lambda: now[0])
    for pause, requests in steps:
        now[0] += pause
        if limiter.wait_seconds("web", requests) == 0.0:
            taken.append((now[0], requests))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            span = taken[last][0] - taken[first][0]
            assert sum(count for _, count in taken[first : last + 1]) <= 4 + 2.0 * span + 1e-6
