"""The HTTP side of real worker processes: probes, metrics of all workers, JSON, and the doors it may not get around."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from online_world import AT, OnlineWorld
from test_server_metrics import Samples, samples, value
from test_server_security import WEB, Authority, needs_openssl

from feature_repo.errors import RequestError, SettingError
from ranking_service.client import RankingClient
from ranking_service.server.http import ranking_message
from ranking_service.server.http_server import serve_http
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import HttpSettings

REQUEST = {"user_id": "ann", "candidate_ids": ["item 1", "item 2"], "limit": 1}
START_SECONDS = 30.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Service:
    """`marquee serve`, running."""

    process: subprocess.Popen[str]
    http: str
    grpc: str

    def get(self, path: str) -> tuple[int, bytes]:
        return fetch(self.http + path)

    def post(self, body: bytes, headers: Mapping[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        status, answer = fetch(f"{self.http}/rank", body, {"x-timeout-ms": "5000", **(headers or {})})
        return status, json.loads(answer)


def fetch(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(url, data=body, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@contextmanager
def service(
    world: OnlineWorld, folder: Path, settings: str = "", *, workers: int = 2, **environment: str
) -> Iterator[Service]:
    port = free_port()
    file = folder / "service.toml"
    file.write_text(f"[http]\nport = {port}\n{settings}")
    command = [sys.executable, "-m", "marquee", "serve", "--bundle", str(world.bundle), "--port", "0"]
    command += ["--redis", world.redis_url, "--no-log", "--settings", str(file), "--workers", str(workers)]
    environment = {**os.environ, "MARQUEE_HOME": str(folder), **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            assert process.stdout is not None
            ready = process.stdout.readline()
            yield Service(process, f"http://127.0.0.1:{port}", ready.split()[-1])
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnlineWorld]:
    from online_world import CONTRACT, make_booster, populate

    from materialization.private_redis import private_redis
    from ranking_service.bundle import publish

    models = tmp_path_factory.mktemp("models")
    publish(models, version="v1", booster=make_booster(), contract=CONTRACT, manifest={})
    with private_redis() as redis:
        world = OnlineWorld(redis.url, models)
        populate(world)
        yield world


@pytest.fixture(scope="module")
def running(world: OnlineWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with service(world, tmp_path_factory.mktemp("home")) as running:
        yield running


def test_a_started_server_is_alive_and_ready(running: Service) -> None:
    assert running.get("/livez") == (200, b'{"alive":true}')
    assert running.get("/readyz") == (200, b'{"ready":true}')


def test_json_is_ranked_as_grpc_ranks_it(running: Service) -> None:
    status, answer = running.post(json.dumps({**REQUEST, "requestId": "mine"}).encode())
    with RankingClient.connect(running.grpc) as client:
        expected = client.rank(user_id="ann", candidate_ids=REQUEST["candidate_ids"], limit=1, timeout=5)  # type: ignore[arg-type]
    assert status == 200
    assert (answer["request_id"], answer["level"], answer["bundle_version"]) == ("mine", 0, "v1")
    assert [item["item_id"] for item in answer["items"]] == [item.item_id for item in expected.items]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "request"),
        (b"[]", "request"),
        (b"nonsense", "request"),
        (b"[" * 100_000, "request"),
        (b'{"user_id": 7}', "request"),
        (b'{"user": "ann"}', "request"),
        (b'{"user_id": "\\ud800", "candidate_ids": ["a"]}', "request"),
        (b'{"user_id": "ann"}', "candidate_ids"),
        (b'{"user_id": "ann", "candidate_ids": ["a", ""]}', "candidate_ids[1]"),
        (
            b'{"user_id": "ann", "candidate_ids": ["a"], "context": {"features": {"bandwidth": {"number": 1e999}}}}',
            None,
        ),
        (
            b'{"user_id": "ann", "candidate_ids": ["a"], "context": {"features": {"bandwidth": {"number": "NaN"}}}}',
            None,
        ),
    ],
)
def test_wrong_json_is_told_as_json_with_its_field(running: Service, body: bytes, field: str | None) -> None:
    status, answer = running.post(body)
    assert (status, answer["error"]["code"]) == (400, "INVALID_ARGUMENT")
    assert field is None or answer["error"]["field"] == field
    assert "Traceback" not in str(answer)


def test_a_body_over_the_limit_and_a_time_that_is_none_are_refused(running: Service) -> None:
    status, answer = running.post(b'{"user_id": "' + b"x" * 5_000_000 + b'"}')
    assert (status, answer["error"]["field"]) == (400, "request")
    for told in ("soon", "-1", "nan", "inf", "1e9"):
        status, answer = running.post(json.dumps(REQUEST).encode(), {"x-timeout-ms": told})
        assert (status, answer["error"]["field"]) == (400, "x-timeout-ms")
    assert running.post(json.dumps(REQUEST).encode(), {"x-timeout-ms": "2000"})[0] == 200


def test_metrics_are_those_of_all_workers(running: Service) -> None:
    fresh = json.dumps({**REQUEST, "context": {"request_time": "2026-03-01T12:30:00Z"}}).encode()
    before = rankings(running)
    for _ in range(20):
        assert running.post(fresh)[0] == 200
    assert rankings(running) - before == 20
    running.post(b'{"user_id": "ann"}')
    model = {"model": "promoted"}
    aged = ("marquee_feature_age_seconds_count", (*model.items(), ("view", "item_stats")))

    def found() -> Samples:
        return samples(running.get("/metrics")[1])

    until(lambda: running.post(fresh)[0] == 200 and found().get(aged, 0) >= 1)
    until(lambda: value(found(), "marquee_cache_channel_up") == 2)
    told = found()
    assert value(told, "marquee_workers") == 2
    assert value(told, "marquee_bundle_info", **model, version="v1", service="ranker") == 1
    assert value(told, "marquee_stage_seconds_count", **model, level="0", stage="score") >= 20
    assert value(told, "marquee_cache_items") > 0
    assert value(told, "marquee_redis_read_seconds_count", outcome="ok") > 0


def rankings(running: Service) -> float:
    told = {"model": "promoted", "priority": "interactive", "code": "OK", "level": "0"}
    found = samples(running.get("/metrics")[1])
    return found.get(("marquee_requests_total", tuple(sorted(told.items()))), 0.0)


def until(true: Any, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "not in time"
        time.sleep(0.05)


def test_a_killed_worker_is_replaced_counted_and_not_added_up_twice(
    world: OnlineWorld, tmp_path: Path
) -> None:
    with service(world, tmp_path) as running:
        for _ in range(10):
            assert running.post(json.dumps(REQUEST).encode())[0] == 200
        until(lambda: rankings(running) == 10)
        children = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(running.process.pid)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        workers = [int(line.split()[0]) for line in children.splitlines() if "server.worker" in line]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)

        def restarted() -> bool:
            found = samples(running.get("/metrics")[1])
            assert running.post(json.dumps(REQUEST).encode())[0] == 200, "the other one serves on"
            key: tuple[str, tuple[tuple[str, str], ...]] = ("marquee_worker_restarts_total", ())
            return found.get(key) == 1 and value(found, "marquee_workers") == 2

        until(restarted)
        assert rankings(running) > 10
        assert running.get("/readyz")[0] == 200


def test_http_needs_the_same_token_and_readiness_none(world: OnlineWorld, tmp_path: Path) -> None:
    limits = "[security]\nrequests_per_second = 0.01\nburst_requests = 2\n"
    with service(world, tmp_path, limits, workers=1, MARQUEE_TOKENS=f"web:{WEB}") as running:
        body = json.dumps(REQUEST).encode()
        assert running.get("/readyz")[0] == 200
        status, answer = running.post(body)
        assert (status, answer["error"]["code"]) == (401, "UNAUTHENTICATED")
        assert [running.post(body, {"authorization": f"Bearer {WEB}"})[0] for _ in range(2)] == [200, 200]
        status, answer = running.post(body, {"x-api-key": WEB})
        assert (status, answer["error"]["code"]) == (429, "RESOURCE_EXHAUSTED")
        assert answer["error"]["retry_after_millis"] > 10_000
        assert WEB not in str(answer)
        found = samples(running.get("/metrics")[1])
        assert value(found, "marquee_caller_requests_total", caller="web", code="RESOURCE_EXHAUSTED") == 1


@needs_openssl
def test_behind_mutual_tls_http_tells_the_state_but_does_not_rank(world: OnlineWorld, tmp_path: Path) -> None:
    authority = Authority(tmp_path).open()
    certificate, key = authority.sign("ranking")
    security = f'[security]\ntls_certificate = "{certificate}"\ntls_key = "{key}"\n'
    security += f'client_ca = "{authority.certificate}"\n'
    with service(world, tmp_path, security, workers=1) as running:
        assert running.get("/readyz")[0] == 200
        assert fetch(f"{running.http}/rank", json.dumps(REQUEST).encode())[0] == 404
        found = samples(running.get("/metrics")[1])
        expires = value(found, "marquee_certificate_expiry_timestamp_seconds")
        assert 364 * 86_400 < expires - time.time() < 366 * 86_400


def test_before_a_worker_answers_the_server_is_alive_but_not_ready() -> None:
    settings = ServiceSettings(http=HttpSettings(port=free_port()))
    http = serve_http(settings, [f"127.0.0.1:{free_port()}"], metrics=lambda: b"")
    assert http is not None
    try:
        assert fetch(f"http://{http.address}/livez")[0] == 200
        assert fetch(f"http://{http.address}/readyz") == (503, b'{"ready":false}')
        status, answer = fetch(f"http://{http.address}/rank", json.dumps(REQUEST).encode())
        assert (status, json.loads(answer)["error"]["code"]) == (503, "UNAVAILABLE")
        with pytest.raises(SettingError, match=r"http\.port"):
            serve_http(settings, ["127.0.0.1:1"])
    finally:
        http.stop()
    assert serve_http(ServiceSettings(), ["127.0.0.1:1"]) is None


def test_a_call_that_a_worker_drops_unread_is_503_and_asked_once() -> None:
    asked = 0

    def drops(_: bytes, context: Any) -> bytes:
        nonlocal asked
        asked += 1
        context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        raise AssertionError

    method = {"Rank": grpc.unary_unary_rpc_method_handler(drops)}
    worker = grpc.server(ThreadPoolExecutor(2))
    handler = grpc.method_handlers_generic_handler("marquee.ranking.v1.RankingService", method)
    worker.add_generic_rpc_handlers((handler,))
    target = f"127.0.0.1:{worker.add_insecure_port('127.0.0.1:0')}"
    worker.start()
    http = serve_http(
        ServiceSettings(http=HttpSettings(port=free_port())), [target, target], metrics=lambda: b""
    )
    assert http is not None
    try:
        status, answer = fetch(f"http://{http.address}/rank", json.dumps(REQUEST).encode())
        assert (status, json.loads(answer)["error"]["code"], asked) == (503, "CANCELLED", 1)
    finally:
        http.stop()
        worker.stop(None)


def test_both_spellings_of_a_field_are_read() -> None:
    told = {"user_id": "ann", "candidateIds": ["a"], "context": {"request_time": "2026-03-01T12:30:00Z"}}
    message = ranking_message(json.dumps(told).encode())
    assert (message.user_id, list(message.candidate_ids)) == ("ann", ["a"])
    assert message.context.request_time.seconds == AT
    with pytest.raises(RequestError, match="request"):
        ranking_message(b"\xff")
