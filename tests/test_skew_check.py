"""The skew check on a small simulated service: clean when all is well, and every planted defect is named."""

from __future__ import annotations

import asyncio
import io
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import redis
from rich.console import Console

from feature_repo.errors import BundleError, EventDataError
from feature_repo.frames import columns_from_table
from feature_repo.workspace import HOME_VARIABLE, REDIS_VARIABLE, Workspace
from marquee.__main__ import run
from materialization import feast_store
from materialization.declared import batch_views
from materialization.events.store import EventStore
from materialization.feature_build.build import build_features
from materialization.feature_build.inputs import event_files
from materialization.feature_build.snapshot import (
    Limits,
    connect,
    open_knowledge,
    partition_path,
    write_snapshot,
)
from materialization.private_redis import private_redis
from materialization.simulator.run import simulate
from ranking_service import bundle as bundles
from ranking_service.assemble import assemble
from ranking_service.bundle import Bundle
from ranking_service.contract import Contract, Field
from ranking_service.online.feature_reader import RedisPlace
from ranking_service.online.ranker import Ranker, Ranking
from ranking_service.online.request import RankRequest
from ranking_service.proto import ranking_pb2, ranking_pb2_grpc
from ranking_service.server.server import RankingServer
from ranking_service.serving_log.counts import LogCounts, WriterRecord
from ranking_service.serving_log.places import closed_segments
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings import ServiceSettings
from ranking_service.settings_sections import BudgetSettings, RedisSettings
from ranking_service.training.labelled import Split
from ranking_service.training.train import Recipe, train
from skew_checks.check import check as check_of_many
from skew_checks.extras import Extras
from skew_checks.formats.report_json import loads
from skew_checks.formats.terminal import render
from skew_checks.judging.comparing import Judge
from skew_checks.replay.join import judging_contract, replay
from skew_checks.replay.parts import served_parts
from skew_checks.replay.served import read_log
from skew_checks.replay.view_facts import view_facts
from skew_checks.result.cause import Cause
from skew_checks.result.parts import Outcome, Status, Unit, Window
from skew_checks.result.report import Defect, SkewReport
from skew_checks.thresholds import Thresholds

HOUR = 3600.0
COUNT, CANDIDATE_COUNT = 32, 61
ALL = Window()
check = partial(check_of_many, thresholds=Thresholds(min_requests=1))
"""The world has 32 requests."""
FEWER = ("--min-requests", "1")
FEW = "32 requests are few: what is wrong in up to 19% of requests may not be among them"
"""1 - 0.001 ** (1 / 32)"""
PLAIN = Extras(effect=False, drift=False)
Named = set[tuple[str, bool]]


@dataclass(frozen=True)
class World:
    """A service with features built up to `end`, a model, and Redis as of `end`."""

    workspace: Workspace
    redis_url: str
    end: datetime
    bundle: Bundle
    requests: tuple[RankRequest, ...]
    """Within five hours after `end`, and two when item rows are as old as their ttl and older; with strangers."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    workspace = Workspace(tmp_path_factory.mktemp("skew"))
    store = EventStore(workspace.events)
    simulate(store, users=200, items=200, days=7, seed=5)
    end = build_features(workspace, every=timedelta(hours=24)).last
    feast_store.apply_definitions(workspace)
    split = Split.by_days(*store.span(), validate_days=1, test_days=1)
    path = train(workspace, Recipe(rounds=20, threads=1), split=split, now=datetime.now(UTC))
    with private_redis() as server:
        fill(workspace, server.url, end)
        made = World(workspace, server.url, end, bundles.load(path), requests_after(end, store))
        serve_over_grpc(made)
        yield made


def requests_after(end: datetime, store: EventStore, count: int = COUNT) -> tuple[RankRequest, ...]:
    rng = np.random.default_rng(0)
    users, items = (sorted(set(store.read(f"{kind}s", [key])[key].to_pylist())) for kind, key in KEYS)
    seconds = end.timestamp() + np.sort([*rng.uniform(0, 5 * HOUR, count - 2), 24 * HOUR, 30 * HOUR])
    return tuple(
        RankRequest(
            request_id=f"request-{number}",
            user_id="a stranger" if number == 7 else str(rng.choice(users)),
            candidate_ids=(*map(str, rng.choice(items, 60, replace=False)), "an unknown item"),
            request_timestamp=round(at * 1e6) / 1e6,
            surface=("home", "search", None)[number % 3],
            device=("tv", None)[number % 2],
            session_position=number % 5 or None,
        )
        for number, at in enumerate(seconds)
    )


PATIENT = ServiceSettings(
    budget=BudgetSettings(request_seconds=30, feature_seconds=10, scoring_seconds=10),
    redis=RedisSettings(connect_seconds=5, timeout_seconds=5),
)
"""Complete answers, however busy the machine is."""
KEYS = (("user", "user_id"), ("item", "item_id"))


def fill(workspace: Workspace, url: str, end: datetime, views: tuple[str, ...] = ()) -> None:
    """Materialize into a Redis of ours; Feast's settings come from the environment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(REDIS_VARIABLE, url)
        feast_store.materialize(workspace, end=end, views=views)


def serve_over_grpc(world: World) -> None:
    """Every request through a real server, which logs them."""
    server = RankingServer.start(
        world.bundle.path,
        redis_url=world.redis_url,
        settings=PATIENT,
        log_folder=world.workspace.serving_log,
    )
    with grpc.insecure_channel(server.address) as channel:
        stub = ranking_pb2_grpc.RankingServiceStub(channel)
        for request in world.requests:
            stub.Rank(message(request))
    counts = server.stop()
    assert counts is not None
    assert (counts.written, counts.dropped) == (len(world.requests), 0)


def message(request: RankRequest) -> ranking_pb2.RankRequest:
    context = ranking_pb2.Context(
        surface=request.surface or "", device=request.device or "", session_position=request.session_position
    )
    context.request_time.FromMicroseconds(round(request.request_timestamp * 1e6))
    return ranking_pb2.RankRequest(
        request_id=request.request_id,
        user_id=request.user_id,
        candidate_ids=request.candidate_ids,
        context=context,
    )


def serve_by(
    world: World,
    folder: Path,
    contract: Contract,
    url: str | None = None,
    *,
    late: timedelta = timedelta(0),
) -> Workspace:
    """A workspace with the world's features and models, and a log of a pipeline that follows `contract`.

    Its requests come so much later than the world's.
    """
    asked = [
        replace(each, request_timestamp=each.request_timestamp + late.total_seconds())
        for each in world.requests
    ]
    world = replace(world, requests=tuple(asked))
    elsewhere = Workspace(folder)
    for name in ("features", "models", "registry.db"):
        (folder / name).symlink_to(world.workspace.home / name)
    log = ServingLog.start(elsewhere.serving_log, PATIENT.log)
    for ranking in asyncio.run(ranked(world, contract, url or world.redis_url)):
        log.offer(LoggedRanking(ranking, contract, ranking.request.request_timestamp))
    assert log.close().written == len(world.requests)
    return elsewhere


async def ranked(world: World, contract: Contract, url: str) -> list[Ranking]:
    """Every request by a pipeline that follows `contract`."""
    reader = RedisPlace(url, PATIENT).reader(contract)
    ranker = Ranker(replace(world.bundle, contract=contract), reader, PATIENT)
    ranker.start()
    try:
        return [await ranker(request, deadline=time.monotonic() + 30) for request in world.requests]
    finally:
        await ranker.close()


@contextmanager
def rebuilt(world: World, name: str, *changes: tuple[str, str]) -> Iterator[None]:
    """The view's last snapshot computed by another SQL, for as long as the block lasts."""
    view = next(view for view in batch_views() if view.name == name)
    sql = view.sql()
    for old, new in changes:
        assert old in sql
        sql = sql.replace(old, new)
    changed = world.workspace.home / f"{name}.sql"
    changed.write_text(sql)
    path = partition_path(world.workspace.feature_path(name), world.end)
    true_rows = path.read_bytes()
    with connect(Limits()) as connection:
        open_knowledge(connection, event_files(world.workspace.events), world.end)
        write_snapshot(
            connection, replace(view, sql_path=changed), as_of=world.end, path=path, fingerprint="planted"
        )
    yield
    path.write_bytes(true_rows)


def served_by_another(world: World, folder: Path, contract: Contract) -> Workspace:
    """As `serve_by`, of a bundle whose own contract is another one."""
    models = folder / "other"
    path = bundles.publish(
        models, version="other", booster=world.bundle.booster, contract=contract, manifest={}
    )
    served = serve_by(replace(world, bundle=bundles.load(path)), folder, contract)
    served.models.unlink()
    models.rename(served.models)
    return served


def with_fingerprint(contract: Contract, *names: str) -> Contract:
    """The contract of a model that was trained when these views' SQL, or transforms' code, was another."""
    views = tuple(
        replace(view, fingerprint="of another") if view.name in names else view for view in contract.views
    )
    transforms = tuple(
        replace(plan, fingerprint="of another") if plan.name in names else plan
        for plan in contract.transforms
    )
    return replace(contract, views=views, transforms=transforms)


def text_of(report: SkewReport) -> str:
    console = Console(width=200, record=True, quiet=False, file=io.StringIO())
    console.print(render(report))
    return console.export_text()


def wrong(report: SkewReport) -> Named:
    """Features that are wrong by themselves, and whether as a column of the model."""
    return {
        (each.feature, each.is_model_column) for each in report.features if each.rate.bad and not each.follows
    }


def followers(report: SkewReport) -> set[str]:
    return {each.feature for each in report.features if each.follows}


def defect(report: SkewReport, feature: str) -> Defect:
    return next(each for each in report.defects if feature in each.features)


def fact(report: SkewReport, feature: str) -> str:
    return "; ".join(defect(report, feature).facts)


def with_default(contract: Contract, name: str, default: float) -> Contract:
    def changed(field: Field) -> Field:
        return replace(field, default=default) if field.name == name else field

    views = tuple(replace(view, fields=tuple(map(changed, view.fields))) for view in contract.views)
    return replace(contract, views=views)


def with_swapped(contract: Contract, left: str, right: str) -> Contract:
    features = list(contract.features)
    one, other = contract.feature_names.index(left), contract.feature_names.index(right)
    features[one], features[other] = features[other], features[one]
    return replace(contract, features=tuple(features))


def test_a_healthy_service_is_clean(world: World) -> None:
    report = check(world.workspace, ALL, extras=PLAIN)
    assert (report.outcome, report.defects, report.notes) == (Outcome.OK, (), (FEW,))
    assert (report.volume.requests, report.volume.rows) == (COUNT, COUNT * CANDIDATE_COUNT)
    assert report.volume.values > 300_000
    assert not any(each.rate.bad for each in report.features)
    assert {each.view for each in report.freshness} == {view.name for view in world.bundle.contract.views}


def test_the_served_matrix_is_bit_for_bit_that_of_the_training_join(world: World) -> None:
    log = read_log(world.workspace.serving_log, ALL)
    replayed = replay(feast_store.open_store(world.workspace), world.bundle, log.segments)
    for served, start in replayed.parts():
        joined = columns_from_table(replayed.joined.slice(start, len(served.request)))
        expected = assemble(joined, replayed.contract)
        np.testing.assert_array_equal(served.model_input, expected)
        assert np.isnan(expected).any()
        assert np.isfinite(expected).any(axis=0).sum() > 150


def test_parts_of_any_size_give_the_same_report(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    change = ("epoch(last_shown)", "epoch(last_shown) + 60")
    with rebuilt(world, "item_totals", change):
        whole = check(world.workspace, ALL, extras=PLAIN, now=world.end)
        monkeypatch.setattr("skew_checks.check.served_parts", lambda segments: served_parts(segments, 100))
        parts = check(world.workspace, ALL, extras=PLAIN, now=world.end)
    assert whole.defects
    assert replace(whole, manifest={}) == replace(parts, manifest={})


def test_features_rebuilt_by_another_sql_are_named(world: World) -> None:
    change = (
        "overall.click_rate, 20) AS item_click_rate_7d",
        "overall.click_rate, 5) AS item_click_rate_7d",
    )
    with rebuilt(world, "item_popularity", change):
        report = check(world.workspace, ALL, extras=PLAIN)
    assert report.outcome is Outcome.FAIL
    assert wrong(report) == {("item_click_rate_7d", False)}
    assert followers(report) == {"item_click_rate_7d"}
    found = defect(report, "item_click_rate_7d")
    assert (found.view, found.cause, found.unit) == (
        "item_popularity",
        Cause.CORRECTION_NOT_APPLIED,
        Unit.ITEM_ROWS,
    )
    assert "written after the view's last materialization" in fact(report, "item_click_rate_7d")
    assert 0 < found.rate.bad <= found.rate.units <= 201
    first = found.evidence[0]
    assert first.served != first.offline == first.at_event_time == first.at_watermark
    assert first.served_event_time == first.offline_event_time == world.end


def test_an_instant_in_another_time_zone_is_named_with_its_hours(world: World) -> None:
    change = ("epoch(last_shown)", "epoch(last_shown AT TIME ZONE 'Asia/Shanghai')")
    with rebuilt(world, "item_totals", change):
        report = check(world.workspace, ALL, extras=PLAIN)
    assert wrong(report) == {("item_last_shown_at", False)}
    assert followers(report) == {"item_idle_hours"}
    assert defect(report, "item_last_shown_at").cause is Cause.CLOCK
    assert "-8 hours" in fact(report, "item_last_shown_at")


def test_hours_of_another_time_zone_are_named(world: World) -> None:
    change = ("hour(event_timestamp) AS hour", "hour(event_timestamp AT TIME ZONE 'Asia/Shanghai') AS hour")
    with rebuilt(world, "user_rhythm", change):
        report = check(world.workspace, ALL, extras=PLAIN)
    parts = {f"user_{part}_share" for part in ("night", "morning", "afternoon", "evening")}
    assert wrong(report) == {(name, False) for name in parts | {"user_mean_hour"}}
    assert followers(report) == parts | {"user_mean_hour", "match_hour_distance"}
    assert defect(report, "user_mean_hour").cause is Cause.CLOCK
    assert "-8 hours on the circle of 24 hours" in fact(report, "user_mean_hour")


def test_an_altered_default_is_named(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, with_default(world.bundle.contract, "pair_exposures", 5.0))
    report = check(served, ALL, extras=PLAIN)
    assert report.outcome is Outcome.FAIL
    assert wrong(report) == {("pair_exposures", True)}
    assert defect(report, "pair_exposures").cause is Cause.DEFAULT_FILL
    assert fact(report, "pair_exposures") == "another default: served 5 where the registry says 0"


def test_an_altered_default_of_a_number_that_is_left_missing_is_named(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, with_default(world.bundle.contract, "pair_best_watched_share", 0.0))
    report = check(served, ALL, extras=PLAIN)
    assert wrong(report) == {("pair_best_watched_share", True)}
    assert (
        fact(report, "pair_best_watched_share") == "another default: served 0 where the registry says missing"
    )


def test_a_default_altered_in_the_registry_is_named(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, world.bundle.contract)
    served.registry.unlink()
    shutil.copy(world.workspace.registry, served.registry)
    store = feast_store.open_store(served)
    view = store.get_feature_view("user_item")
    for field in view.features:
        if field.name == "pair_exposures":
            field.tags["default"] = "5"
    store.registry.apply_feature_view(view, store.project)
    report = check(served, ALL, extras=PLAIN)
    assert wrong(report) == {("pair_exposures", True)}
    assert any(note.startswith("default of pair_exposures: ") for note in report.notes)


def test_a_transform_of_other_code_is_a_finding_though_every_value_agrees(
    world: World, tmp_path: Path
) -> None:
    trained = with_fingerprint(world.bundle.contract, "surface_fit")
    report = check(served_by_another(world, tmp_path, trained), ALL, extras=PLAIN)
    assert wrong(report) == set()
    assert report.outcome is Outcome.FAIL
    (changed,) = report.defects
    assert (changed.view, changed.bundle, changed.cause) == ("surface_fit", "other", Cause.TRANSFORM_CODE)
    assert set(changed.features) == {
        feature.name for feature in trained.features if feature.origin == "surface_fit"
    }
    assert "marquee model train" in changed.facts[0]


def test_a_view_of_another_sql_is_a_note_where_every_value_agrees(world: World, tmp_path: Path) -> None:
    trained = with_fingerprint(world.bundle.contract, "user_totals")
    report = check(served_by_another(world, tmp_path, trained), ALL, extras=PLAIN)
    assert (report.outcome, report.defects) == (Outcome.OK, ())
    assert report.notes == (FEW, "declaration or SQL changed since bundle other was trained: user_totals")


def test_two_swapped_columns_of_the_plan_are_named(world: World, tmp_path: Path) -> None:
    left, right = "item_click_rate_7d", "item_long_view_rate_7d"
    served = serve_by(world, tmp_path, with_swapped(world.bundle.contract, left, right))
    report = check(served, ALL, extras=PLAIN)
    assert wrong(report) == {(left, True), (right, True)}
    assert followers(report) == set()
    found = defect(report, left)
    assert (found.cause, set(found.features)) == (Cause.ASSEMBLY, {left, right})
    assert {f"the column holds {name}" for name in (left, right)} == {
        told.split(" in ")[0] for told in found.facts
    }


def test_two_swapped_columns_of_a_query_are_named(world: World) -> None:
    with rebuilt(
        world,
        "item_popularity",
        ("AS item_clicks_7d", "AS swapped"),
        ("AS item_long_views_7d", "AS item_clicks_7d"),
        ("AS swapped", "AS item_long_views_7d"),
        ("smoothed(item_clicks_7d", "smoothed(swapped"),
        ("smoothed(item_long_views_7d", "smoothed(item_clicks_7d"),
        ("smoothed(swapped", "smoothed(item_long_views_7d"),
    ):
        report = check(world.workspace, ALL, extras=PLAIN)
    assert wrong(report) == {("item_clicks_7d", False), ("item_long_views_7d", False)}
    assert defect(report, "item_clicks_7d").cause is Cause.SWAPPED_COLUMNS
    assert "exchanged with those of item_long_views_7d" in fact(report, "item_clicks_7d")


def test_a_view_that_lags_behind_is_named_with_both_event_times(world: World, tmp_path: Path) -> None:
    with private_redis() as server:
        others = tuple(view.name for view in batch_views() if view.name != "user_totals")
        fill(world.workspace, server.url, world.end, others)
        fill(world.workspace, server.url, world.end - timedelta(hours=1), ("user_totals",))
        served = serve_by(world, tmp_path, world.bundle.contract, server.url, late=timedelta(hours=6))
        report = check(served, ALL, extras=PLAIN)
    assert {each.view for each in report.defects} == {"user_totals"}
    assert defect(report, "user_exposures").cause is Cause.MATERIALIZATION_GAP
    assert defect(report, "user_exposures").unit is Unit.REQUESTS
    times = f"served {world.end - timedelta(days=1):%Y-%m-%d %H:%M}, offline {world.end:%Y-%m-%d %H:%M}"
    assert f"({times})" in fact(report, "user_exposures")
    (late,) = (each for each in report.freshness if each.view == "user_totals")
    assert (late.status, late.target_seconds) == (Status.FAIL, 6 * HOUR)
    assert late.lagging.share > 0.5


def test_a_row_that_is_not_yet_due_is_no_mismatch(world: World, tmp_path: Path) -> None:
    """Users' rows are due six hours after midnight; all but two requests come within five."""
    with private_redis() as server:
        others = tuple(view.name for view in batch_views() if view.name != "user_totals")
        fill(world.workspace, server.url, world.end, others)
        fill(world.workspace, server.url, world.end - timedelta(hours=1), ("user_totals",))
        served = serve_by(world, tmp_path, world.bundle.contract, server.url)
        report = check(served, Window(end=world.end + timedelta(hours=6)), extras=PLAIN)
    assert (report.outcome, report.defects, report.volume.requests) == (Outcome.OK, (), COUNT - 2)
    assert wrong(report) == set()
    (ages,) = (each.age_quantiles for each in report.freshness if each.view == "user_totals")
    assert 24 * HOUR < ages["p50"] < 30 * HOUR


def test_a_view_materialized_for_half_of_the_items_is_named(world: World, tmp_path: Path) -> None:
    with private_redis() as server:
        fill(world.workspace, server.url, world.end)
        client = redis.Redis.from_url(server.url)
        for key in sorted(client.keys(b"mq:r|*item_genre|*"))[::2]:
            client.delete(key)
        served = serve_by(world, tmp_path, world.bundle.contract, server.url, late=timedelta(hours=2))
        report = check(served, ALL, extras=PLAIN)
    assert {each.view for each in report.defects} == {"item_genre"}
    found = defect(report, "genre_long_view_rate")
    assert found.cause is Cause.NEVER_MATERIALIZED
    assert 60 <= found.rate.bad <= 140


def test_log_rows_that_repeat_another_are_counted_and_left_out(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, world.bundle.contract)
    (segment, *_) = closed_segments(served.serving_log)
    again = segment.path.with_name(segment.path.name[:-6] + "000099")
    shutil.copytree(segment.path, again)
    candidates = pq.read_table(segment.candidates, partitioning=None)
    pq.write_table(pa.concat_tables([candidates, candidates.slice(0, 7)]), segment.candidates)
    report = check(served, ALL, extras=PLAIN)
    assert (report.volume.requests, report.volume.rows) == (COUNT, COUNT * CANDIDATE_COUNT)
    requests = len(pq.read_table(segment.requests, partitioning=None))
    assert report.volume.duplicates == requests * (1 + CANDIDATE_COUNT) + 7
    assert [each.cause for each in report.defects] == [Cause.DUPLICATE_LOG_ROWS]
    assert report.outcome is Outcome.FAIL


def test_scores_of_another_model_are_named(world: World, tmp_path: Path) -> None:
    fewer = replace(world.bundle, booster=world.bundle.booster[:3])
    served = serve_by(replace(world, bundle=fewer), tmp_path, world.bundle.contract)
    report = check(served, ALL, extras=PLAIN)
    (found,) = report.defects
    assert (found.cause, found.view, found.rate.bad) == (Cause.WRONG_MODEL, "model", COUNT)
    assert found.evidence[0].served != found.evidence[0].offline


def test_too_few_rows_are_not_called_clean(world: World) -> None:
    report = check(world.workspace, ALL, thresholds=Thresholds(min_rows=10_000), extras=PLAIN)
    assert report.outcome is Outcome.NOT_ENOUGH
    assert report.exit_code == 3


def test_fewer_requests_than_a_hundred_are_not_enough(world: World) -> None:
    found = check_of_many(world.workspace, ALL, extras=PLAIN)
    assert (found.outcome, found.exit_code) == (Outcome.NOT_ENOUGH, 3)
    assert f"{COUNT} requests" in found.sentence


def test_one_request_is_enough_where_it_was_asked_for_and_none_is_not(world: World) -> None:
    known = world.requests[0].request_id
    one = check_of_many(world.workspace, ALL, request=known, extras=PLAIN)
    assert (one.outcome, one.volume.requests, one.notes) == (Outcome.OK, 1, ())
    none = check_of_many(world.workspace, ALL, request="nobody-asked-this", extras=PLAIN)
    assert (none.outcome, none.exit_code) == (Outcome.NOT_ENOUGH, 3)


def test_a_night_of_few_requests_says_how_much_it_may_have_missed(world: World) -> None:
    report = check(world.workspace, Window(sample=3), extras=PLAIN)
    assert "3 requests are few: what is wrong in up to 90% of requests may not be among them" in report.notes


def test_an_absent_log_is_too_little(world: World, tmp_path: Path) -> None:
    elsewhere = Workspace(tmp_path)
    elsewhere.models.symlink_to(world.workspace.models)
    assert check(elsewhere, ALL, extras=PLAIN).outcome is Outcome.NOT_ENOUGH


def test_the_window_counts_by_the_requests_own_time(world: World) -> None:
    middle = datetime.fromtimestamp(world.requests[10].request_timestamp, UTC)
    assert check(world.workspace, Window(end=middle), extras=PLAIN).volume.requests == 10
    assert check(world.workspace, Window(start=middle), extras=PLAIN).volume.requests == COUNT - 10
    nothing = check(world.workspace, Window(start=middle, end=middle), extras=PLAIN)
    assert nothing.outcome is Outcome.NOT_ENOUGH


def test_a_sample_is_the_same_every_time_and_part_of_a_larger_one(world: World) -> None:
    def sampled(count: int) -> set[str]:
        log = read_log(world.workspace.serving_log, Window(sample=count))
        return {name for segment in log.segments for name in segment.head["request_id"].to_pylist()}

    assert len(sampled(5)) == 5
    assert sampled(5) == sampled(5) < sampled(12)
    report = check(world.workspace, Window(sample=5), extras=PLAIN)
    assert (report.volume.requests, report.volume.rows, report.outcome) == (
        5,
        5 * CANDIDATE_COUNT,
        Outcome.OK,
    )


def test_requests_of_an_unknown_bundle_are_refused_with_their_number(world: World, tmp_path: Path) -> None:
    elsewhere = Workspace(tmp_path)
    elsewhere.serving_log.symlink_to(world.workspace.serving_log)
    with pytest.raises(BundleError, match=rf"{world.bundle.version} \({COUNT} requests\).*there are none"):
        check(elsewhere, ALL, extras=PLAIN)


def test_degraded_answers_and_cut_off_segments_are_counted_not_judged(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, world.bundle.contract)
    path = closed_segments(served.serving_log)[0].requests
    requests = pq.read_table(path, partitioning=None)
    level = requests.schema.get_field_index("level")
    degraded = pc.if_else(pc.equal(requests["request_id"], "request-3"), 2, 0).cast("int8")
    pq.write_table(requests.set_column(level, "level", degraded), path)
    now = f"{world.end:%Y-%m-%dT%H:%M:%S}+00:00"
    WriterRecord("dead", now, now, closed=False, sample=1.0, counts=LogCounts(offered=3)).write(
        served.serving_log
    )
    report = check(served, ALL, extras=PLAIN)
    assert (report.volume.requests, report.volume.degraded, report.outcome) == (COUNT - 1, 1, Outcome.OK)
    assert any("1 requests answered with replaced values" in note for note in report.notes)
    assert any("1 segments of the log were cut off" in note for note in report.notes)


def test_a_damaged_log_file_is_named(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, world.bundle.contract)
    path = closed_segments(served.serving_log)[0].candidates
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(EventDataError, match=path.name):
        check(served, ALL, extras=PLAIN)


def test_requests_stamped_in_local_time_are_noted(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, world.bundle.contract)
    for segment in closed_segments(served.serving_log):
        requests = pq.read_table(segment.requests, partitioning=None)
        place = requests.schema.get_field_index("received_timestamp")
        shifted = pc.subtract(requests["received_timestamp"], np.timedelta64(8 * 3_600_000_000, "us"))
        changed = requests.set_column(place, "received_timestamp", shifted)
        pq.write_table(changed, segment.requests)
    report = check(served, ALL, extras=PLAIN)
    (found,) = report.defects
    assert (found.cause, found.view, found.rate.bad) == (Cause.CLOCK, "request", COUNT)
    assert "+8 hours off the server's clock" in found.facts[0]


def test_the_report_says_what_and_where(world: World) -> None:
    change = ("epoch(last_shown)", "epoch(last_shown AT TIME ZONE 'Asia/Shanghai')")
    with rebuilt(world, "item_totals", change):
        report = check(world.workspace, ALL)
    shown = text_of(report)
    assert all(text in shown for text in ("item_last_shown_at", "-8 hours", "item_idle_hours"))
    found = defect(report, "item_last_shown_at")
    assert {each.dimension for each in found.slices} >= {"surface", "device", "replica", "hour", "user age"}
    assert all(sum(part.bad for part in each.parts) > 0 for each in found.slices)
    assert found.since is not None
    assert found.last is not None
    assert world.end < found.since < found.last
    assert found.effect is not None
    assert found.effect.requests > 0
    (hours,) = (each for each in report.hourly if each.feature == "item_last_shown_at")
    assert sum(hours.requests) == COUNT
    assert any(hours.mismatch_rate)
    (points,) = (each for each in report.parity if each.feature == "item_last_shown_at")
    assert any(points.differs)
    assert {"seconds", "thresholds", "versions", "peak memory bytes"} <= set(report.manifest)


def test_the_command_of_a_defect_replays_its_evidence(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(world.workspace.home))
    with rebuilt(world, "item_totals", ("epoch(last_shown)", "epoch(last_shown) + 60")):
        report = check(world.workspace, ALL, extras=PLAIN)
        command = defect(report, "item_last_shown_at").command
        assert command.startswith("marquee skew check --date ")
        capsys.readouterr()
        code = run([*command.split()[1:], "--json"])
    again = loads(capsys.readouterr().out)
    assert code == again.exit_code
    assert again.volume.requests == 1
    assert ("item_last_shown_at", False) in wrong(again)


def test_the_verb_answers_with_its_exit_code(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(world.workspace.home))
    day = f"{world.end:%Y-%m-%d}"
    assert run(["skew", "check", "--date", day, "--no-drift", *FEWER]) == 0
    assert (world.workspace.reports / f"skew-{day}.json").is_file()
    assert run(["skew", "check", "--to", day, "--no-drift", *FEWER]) == 3
    assert run(["skew", "check", "--date", day, "--to", day]) == 2
    with rebuilt(world, "item_totals", ("epoch(last_shown)", "epoch(last_shown) + 60")):
        assert run(["skew", "check", "--date", day, "--no-drift", *FEWER]) == 2


def test_a_check_that_fails_itself_has_an_exit_code_of_its_own(
    tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    (tmp_path / "serving_log").symlink_to(world.workspace.serving_log)
    assert run(["skew", "check"]) == 4
    assert "bundles that are not in" in capsys.readouterr().err
    (left,) = (tmp_path / "reports").glob("skew-*.json")
    report = loads(left.read_text())
    assert (report.outcome, report.volume.requests) == (Outcome.INTERNAL, 0)
    assert "bundles that are not in" in report.sentence


def test_a_log_that_lacks_a_model_column_is_refused(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, world.bundle.contract)
    path = closed_segments(served.serving_log)[0].candidates
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["model__item_trend"]), path)
    with pytest.raises(EventDataError, match="model columns, expected"):
        check(served, ALL, extras=PLAIN)


def test_keys_in_another_spelling_than_the_rows_have_are_named(world: World, tmp_path: Path) -> None:
    """Simulated users are called u000012; here some callers leave out the zeros."""
    bare = {
        each.user_id: "u" + each.user_id[1:].lstrip("0")
        for each in world.requests
        if each.user_id[1:].isdigit()
    }
    asked = tuple(
        replace(each, user_id=bare.get(each.user_id, each.user_id)) if number % 4 == 0 else each
        for number, each in enumerate(world.requests)
    )
    served = serve_by(replace(world, requests=asked), tmp_path, world.bundle.contract)
    report = check(served, ALL, extras=PLAIN)
    (found,) = report.defects
    assert (found.cause, found.features) == (Cause.KEY_MISMATCH, ("user_id",))
    assert found.rate.bad == sum(one != other for one, other in zip(asked, world.requests, strict=True))
    assert "a stranger" not in found.facts[0]


def test_a_rows_age_past_its_ttl_is_named(world: World, tmp_path: Path) -> None:
    """Items' rows live for a day; the last two requests come after it."""
    views = tuple(replace(view, ttl_seconds=30 * 24 * HOUR) for view in world.bundle.contract.views)
    served = serve_by(world, tmp_path, replace(world.bundle.contract, views=views))
    report = check(served, ALL, extras=PLAIN)
    items = {view.name for view in world.bundle.contract.views if view.join_keys == ("item_id",)}
    assert {each.view for each in report.defects} == items
    assert {each.cause for each in report.defects} == {Cause.TTL}


def test_rows_of_the_next_candidate_are_named(world: World, tmp_path: Path) -> None:
    served = serve_by(world, tmp_path, world.bundle.contract)
    for segment in closed_segments(served.serving_log):
        candidates = pq.read_table(segment.candidates, partitioning=None)
        view = world.bundle.contract.view("item_totals")
        names = [field.name for field in view.fields]
        columns = [*names, *(name for name in candidates.column_names if name.endswith("__item_totals"))]
        for name in columns:
            place = candidates.schema.get_field_index(name)
            column = candidates[name].combine_chunks()
            moved = pa.concat_arrays([column.slice(1), column.slice(0, 1)])
            candidates = candidates.set_column(place, name, moved)
        pq.write_table(candidates, segment.candidates)
    report = check(served, ALL, extras=PLAIN)
    stored = [each for each in report.defects if each.view == "item_totals"]
    assert Cause.OTHER_ROW in {each.cause for each in stored}


def test_a_view_that_a_bundle_does_not_read_is_not_looked_for_in_its_log(world: World) -> None:
    contract = world.bundle.contract
    views = tuple(view for view in contract.views if view.name != "item_totals")
    store = feast_store.open_store(world.workspace)
    bundle = replace(world.bundle, contract=replace(contract, views=views))
    registered = judging_contract(store, bundle)
    assert "item_totals" in {view.name for view in registered.views}
    judge = Judge(world.workspace, store, bundle, registered, view_facts(store), ())
    assert [view.name for view in judge.views] == [view.name for view in views]
