"""Metrics by what they count, in one process and in several; log lines; spans."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client import values
from prometheus_client.parser import text_string_to_metric_families

from feature_repo.errors import SettingError
from ranking_service.online.fetched import EntityRows, Fetched, ViewRows
from ranking_service.proto import ranking_pb2
from ranking_service.server.logs import RequestLines, TextLines, write_to
from ranking_service.server.metrics import ServerMetrics
from ranking_service.server.metrics_folder import FOLDER_VARIABLE, exposition
from ranking_service.server.metrics_state import WorkerState
from ranking_service.server.stages import STAGES
from ranking_service.server.traces import Traces
from ranking_service.settings_sections import LoggingSettings, TraceSettings

MODELS = frozenset({"default"})
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    return found[(name, tuple(sorted(labels.items())))]


def response(**more: Any) -> ranking_pb2.RankResponse:
    micros = ranking_pb2.StageMicros(
        queue=30, decode=100, fetch=900, wait=20, assemble=800, score=1_200, order=60, total=3_110
    )
    return ranking_pb2.RankResponse(model="default", micros=micros, **more)


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> ServerMetrics:
    """In memory, whatever other libraries of this process have prepared (Feast prepares a folder)."""
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    return ServerMetrics(MODELS)


def test_an_answer_is_counted_by_model_level_and_stage(metrics: ServerMetrics) -> None:
    metrics.answered(response(), candidates=500, seconds=0.004, priority=2, caller="web")
    metrics.answered(response(level=2), candidates=100, seconds=0.6)
    found = samples(exposition(metrics.registry))
    told = {"model": "default", "code": "OK"}
    assert value(found, "marquee_requests_total", **told, priority="prefetch", level="0") == 1
    assert value(found, "marquee_requests_total", **told, priority="interactive", level="2") == 1
    assert value(found, "marquee_caller_requests_total", caller="web", code="OK") == 1
    first = {"model": "default", "level": "0"}
    assert value(found, "marquee_request_seconds_bucket", **first, le="0.003") == 0
    assert value(found, "marquee_request_seconds_bucket", **first, le="0.004") == 1
    assert value(found, "marquee_stage_seconds_sum", **first, stage="score") == pytest.approx(0.0012)
    assert value(found, "marquee_stage_seconds_count", **first, stage="explain") == 0
    assert value(found, "marquee_request_candidates_sum", model="default") == 600


def test_views_are_counted_by_candidates_without_rows_and_by_what_took_their_place(
    metrics: ServerMetrics,
) -> None:
    view = ranking_pb2.DegradedView(view="item_stats", level=1, last_known_candidates=70, oldest_seconds=9)
    missing = {"item_stats": 30, "pair_stats": 8}
    answer = response(
        level=1,
        incomplete_candidates=35,
        missing_by_view=missing,
        degraded_views=[view],
        cached_candidates=5,
        explanation_skipped=True,
    )
    metrics.answered(answer, candidates=100, seconds=0.02)
    found = samples(exposition(metrics.registry))

    def of(name: str, **more: str) -> float:
        return value(found, f"marquee_{name}_total", model="default", **more)

    assert of("view_missing_candidates", view="item_stats") == 30
    assert of("view_unread_candidates", view="item_stats") == 30
    assert of("view_last_known_candidates", view="item_stats") == 70
    assert of("view_missing_candidates", view="pair_stats") == 8
    assert of("incomplete_candidates") == 35
    assert of("cached_candidates") == 5
    assert of("explanations_skipped") == 1


def test_callers_cannot_make_labels(metrics: ServerMetrics) -> None:
    for number in range(100):
        metrics.refused("INVALID_ARGUMENT", model=f"made up {number}", priority=number)
    lines = [
        line
        for line in exposition(metrics.registry).decode().splitlines()
        if line.startswith("marquee_requests")
    ]
    assert len([line for line in lines if "_total{" in line]) == 2, "one for each priority"
    assert all("unknown" in line for line in lines)


def test_the_median_age_of_rows_is_looked_at_once_a_second(metrics: ServerMetrics) -> None:
    now = [100.0]
    metrics.clock = lambda: now[0]
    times = np.array([940.0, 400.0, 970.0, np.nan])
    item = EntityRows({}, {"item_stats": ViewRows(np.array([0, 0, 0, 1], np.int8), times)})
    gone = EntityRows({}, {"user_stats": ViewRows(np.array([1], np.int8), np.array([np.nan]))})
    for moment in (100.0, 100.5, 101.5):
        now[0] = moment
        metrics.aged("default", Fetched(4, user=gone, item=item), at=1000.0)
    found = samples(exposition(metrics.registry))
    assert value(found, "marquee_feature_age_seconds_sum", model="default", view="item_stats") == 120.0
    assert value(found, "marquee_feature_age_seconds_count", model="default", view="item_stats") == 2
    assert not [name for name in found if ("view", "user_stats") in name[1]]


def test_what_a_worker_tells_becomes_gauges_and_growing_counters(metrics: ServerMetrics) -> None:
    metrics.tells(WorkerState(in_flight=3, cache_hits=10))
    metrics.tells(WorkerState(in_flight=5, cache_hits=15))
    metrics.tells(WorkerState(in_flight=1, cache_hits=10, log_dropped=2))
    found = samples(exposition(metrics.registry))
    assert value(found, "marquee_in_flight_requests") == 1
    assert value(found, "marquee_cache_hits_total") == 25
    assert value(found, "marquee_log_dropped_total") == 2


def test_the_bundle_in_service_is_told_and_the_one_before_is_not(metrics: ServerMetrics) -> None:
    metrics.serves("default", version="v1", service="ranker", trained_until=1_000.0)
    metrics.serves("default", version="v2", service="ranker", trained_until=2_000.0)
    found = samples(exposition(metrics.registry))
    told = {"model": "default", "service": "ranker"}
    assert value(found, "marquee_bundle_info", **told, version="v1") == 0
    assert value(found, "marquee_bundle_info", **told, version="v2") == 1
    assert value(found, "marquee_bundle_trained_until_timestamp_seconds", model="default") == 2_000.0


WORKER = """
import os, signal, sys
from ranking_service.server.metrics_folder import write_as
write_as(int(sys.argv[1]))
from ranking_service.server.metrics import ServerMetrics
from ranking_service.server.metrics_state import WorkerState
metrics = ServerMetrics(frozenset({"default"}))
metrics.begins(float(sys.argv[2]))
for _ in range(3):
    metrics.refused("UNAVAILABLE", model="default")
metrics.read_redis(0.001, "ok")
metrics.tells(WorkerState(in_flight=2, cache_hits=5))
metrics.serves("default", version="v1", service="ranker", trained_until=7.0)
print("told", flush=True)
sys.stdin.read()
os.kill(os.getpid(), signal.SIGKILL)
"""
SUPERVISOR = """
import subprocess, sys
from pathlib import Path
from ranking_service.server.metrics_folder import exposition, forget, prepare_folder
folder = Path(sys.argv[1])
prepare_folder(folder)
def started(worker):
    child = subprocess.Popen(
        [sys.executable, "-c", sys.argv[2], str(worker), "50"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    child.stdout.readline()
    return child
def shown(name):
    (folder.parent / name).write_bytes(exposition())
workers = [started(0), started(1)]
shown("both")
workers[0].stdin.close()
workers[0].wait()
forget(0)
shown("one")
workers[0] = started(0)
shown("replaced")
for worker in workers:
    worker.stdin.close()
    worker.wait()
print(len(list(folder.iterdir())))
"""


def test_workers_are_added_up_and_a_dead_ones_doings_count_but_not_its_state(tmp_path: Path) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    (folder / "counter_9.db").write_bytes(b"left over by an earlier run")
    environment = {name: text for name, text in os.environ.items() if name != FOLDER_VARIABLE}
    done = subprocess.run(
        [sys.executable, "-c", SUPERVISOR, str(folder), WORKER],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=environment,
    )
    both, one, replaced = (samples((tmp_path / name).read_bytes()) for name in ("both", "one", "replaced"))
    refused = {"model": "default", "priority": "interactive", "code": "UNAVAILABLE", "level": ""}
    assert [value(found, "marquee_requests_total", **refused) for found in (both, one, replaced)] == [6, 6, 9]
    assert [value(found, "marquee_cache_hits_total") for found in (both, one, replaced)] == [10, 10, 15]
    assert [value(found, "marquee_in_flight_requests") for found in (both, one, replaced)] == [4, 2, 4]
    assert [value(found, "marquee_workers") for found in (both, one, replaced)] == [2, 1, 2]
    assert value(both, "marquee_redis_read_seconds_count", outcome="ok") == 2
    served = {"model": "default", "version": "v1", "service": "ranker"}
    assert value(both, "marquee_bundle_info", **served) == 1
    assert int(done.stdout) <= 12, "two workers, six kinds of files"


def lines_of(settings: LoggingSettings, steps: Callable[[RequestLines], None]) -> list[dict[str, Any]]:
    """What the steps write, as JSON."""
    stream = StringIO()
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    write_to(stream, settings)
    try:
        steps(RequestLines(settings, clock=lambda: NOW[0]))
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


NOW = [0.0]


def test_a_failed_a_degraded_and_a_slow_request_get_a_line_with_their_id_and_a_good_one_none() -> None:
    def steps(lines: RequestLines) -> None:
        lines.answered(response(request_id="good"), seconds=0.004, caller="web")
        lines.answered(response(request_id="slow"), seconds=0.4, caller="web")
        view = ranking_pb2.DegradedView(view="item_stats", level=2)
        poor = response(request_id="poor", level=2, reason="Redis is late", degraded_views=[view])
        lines.answered(poor, seconds=0.02, caller="web")
        lines.refused("UNAVAILABLE", "no answer", request_id="none", seconds=0.02, caller="web")

    slow, poor, none = lines_of(LoggingSettings(format="json"), steps)
    assert (slow["request_id"], slow["message"], slow["millis"]) == ("slow", "slow", 400.0)
    assert slow["micros"]["score"] == 1200
    assert (poor["request_id"], poor["reason"], poor["views"]) == ("poor", "Redis is late", ["item_stats"])
    assert (none["request_id"], none["code"], none["level"]) == ("none", "UNAVAILABLE", "warning")


def test_an_outage_writes_a_few_lines_a_second_and_says_how_many_it_left_out() -> None:
    def steps(lines: RequestLines) -> None:
        for number in range(1_000):
            NOW[0] = 10.0 + number / 500
            lines.refused("UNAVAILABLE", "Redis is gone", request_id=str(number), seconds=0.02, caller="web")
        lines.refused("INVALID_ARGUMENT", "user_id: is empty", request_id="x", seconds=0.0, caller="web")

    written = lines_of(LoggingSettings(format="json", lines_per_second=3), steps)
    assert [line["code"] for line in written] == ["UNAVAILABLE"] * 6 + ["INVALID_ARGUMENT"]
    assert [line.get("suppressed") for line in written] == [None, None, None, 497, None, None, None]


def test_the_access_log_is_for_who_asks_for_it() -> None:
    def steps(lines: RequestLines) -> None:
        lines.answered(response(request_id="good"), seconds=0.004, caller="web")

    (line,) = lines_of(LoggingSettings(format="json", access=True), steps)
    assert (line["message"], line["request_id"], line["caller"]) == ("answered", "good", "web")


def test_what_a_caller_sends_stays_on_one_line_and_short() -> None:
    record = logging.LogRecord("marquee", logging.WARNING, "", 0, "%s", ("a\nforged line\x1b[31m",), None)
    assert len(TextLines().format(record).splitlines()) == 1
    assert "\x1b" not in TextLines().format(record)

    def steps(lines: RequestLines) -> None:
        long = "x" * 1_000_000
        lines.refused("INVALID_ARGUMENT", long, request_id=long, seconds=0, caller="web")

    (line,) = lines_of(LoggingSettings(format="json"), steps)
    assert len(json.dumps(line)) < 2_000


def recording(share: float) -> tuple[Traces, Any]:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    return Traces.to(SimpleSpanProcessor(exporter), share=share), exporter


def test_a_request_is_a_span_in_its_callers_trace_with_its_stages_inside() -> None:
    traces, exporter = recording(0.0)
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    metadata = [("user-agent", "x"), ("traceparent", f"00-{trace}-{parent}-01"), ("some-bin", b"\xff")]
    traces.answered(response(request_id="r1"), metadata=metadata, began=100.0, ended=100.004)
    traces.refused("UNAVAILABLE", "no answer", metadata=metadata, began=101.0, ended=101.02)
    spans = exporter.get_finished_spans()
    *stages, request, refused = spans
    assert (
        [span.name for span in stages]
        == list(STAGES)[:-1]
        == ["queue", "decode", "fetch", "wait", "assemble", "score", "order"]
    )
    assert {f"{span.context.trace_id:032x}" for span in spans} == {trace}
    assert f"{request.parent.span_id:016x}" == parent
    assert all(span.parent.span_id == request.context.span_id for span in stages)
    assert (request.attributes["marquee.request_id"], request.attributes["marquee.level"]) == ("r1", 0)
    assert [span.end_time - span.start_time for span in stages][2] == 900_000
    assert stages[1].start_time == stages[0].end_time
    assert not refused.status.is_ok
    traces.stop()


def test_without_a_trace_of_the_callers_only_a_share_is_recorded() -> None:
    for share, expected in ((0.0, 0), (1.0, 8)):
        traces, exporter = recording(share)
        traces.answered(response(), metadata=[], began=1.0, ended=2.0)
        assert len(exporter.get_finished_spans()) == expected


def test_traces_are_off_without_an_endpoint_and_need_the_extra_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Traces.start(TraceSettings()) is None
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingError, match=r"marquee\[otel\]"):
        Traces.start(TraceSettings(endpoint="http://127.0.0.1:1/v1/traces"))


def test_the_servers_side_does_without_the_extra() -> None:
    program = (
        "import sys, ranking_service.server.metrics, ranking_service.server.logs, ranking_service.server.traces; "
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
