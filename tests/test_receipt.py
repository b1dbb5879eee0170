"""A receipt rebuilds a logged request and proves it, or says exactly what is not true."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from logged_world import AGE, ITEMS, popularity, publish_bundle, ranked, without_model
from online_world import AT, MODEL

from feature_repo.errors import MissingInputError, RequestError
from feature_repo.workspace import HOME_VARIABLE, Workspace
from marquee.__main__ import run
from ranking_service.bundle import Bundle
from ranking_service.online.fetched import Origin
from ranking_service.serving_log.feature_lines import FeatureLine
from ranking_service.serving_log.find import Wanted, find
from ranking_service.serving_log.places import closed_segments
from ranking_service.serving_log.receipt import Receipt, receipt
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog, is_sampled
from ranking_service.settings_sections import LogSettings

DAY = 86_400.0


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    return Workspace(tmp_path)


@pytest.fixture
def bundle(workspace: Workspace) -> Bundle:
    return publish_bundle(workspace.models)


def write(workspace: Workspace, *logged: LoggedRanking, sample: float = 1.0) -> None:
    log = ServingLog.start(workspace.serving_log, LogSettings(sample=sample, keep_days=0))
    for entry in logged:
        log.offer(entry)
    log.close()


def only(workspace: Workspace, bundle: Bundle, request_id: str, **options: Any) -> Receipt:
    (logged,) = find(workspace.serving_log, Wanted(request_id))
    return receipt(logged, bundle, **options)


def line(one: Receipt, item: str, feature: str) -> FeatureLine:
    (chosen,) = [entry for entry in one.items if entry.item_id == item]
    (found,) = [entry for entry in chosen.features if entry.name == feature]
    return found


def test_a_receipt_holds_candidates_order_bundle_and_level(workspace: Workspace, bundle: Bundle) -> None:
    logged = ranked("ann", limit=2, request_id="mine")
    write(workspace, ranked("bob"), logged, ranked("nobody"))
    one = only(workspace, bundle, "mine")
    assert (one.request["user_id"], one.request["bundle_version"], one.request["level"]) == ("ann", "v1", 0)
    assert (one.request["surface"], one.request["returned_count"]) == ("search", 2)
    order, scores = logged.ranking.order, logged.ranking.scores
    assert [item.item_id for item in one.items] == [ITEMS[place] for place in order]
    assert [item.score for item in one.items] == [scores[place] for place in order]
    assert [item.is_returned for item in one.items] == [True, True, False, False]
    assert one.proof.holds
    assert (one.proof.candidates, one.proof.features) == (4, len(MODEL))


def test_each_value_tells_where_it_comes_from_and_how_old_it_is(workspace: Workspace, bundle: Bundle) -> None:
    origins = [Origin.FOUND, Origin.EXPIRED, Origin.LAST_KNOWN, Origin.UNREAD]
    write(workspace, ranked("nobody", request_id="mine", item_origins=origins))
    one = only(workspace, bundle, "mine")
    assert one.request["level"] == 2
    told = {item: line(one, item, "item_plays") for item in ITEMS}
    assert [told[item].origin for item in ITEMS] == ["stored", "expired", "last known", "unread"]
    assert [told[item].raw for item in ITEMS] == [0.0, None, 2.0, None]
    assert [told[item].default for item in ITEMS] == [None, 3.0, None, 3.0]
    assert [told[item].value for item in ITEMS] == [0.0, 3.0, 2.0, 3.0]
    assert [told[item].age_seconds for item in ITEMS] == [AGE, AGE, AGE, None]
    country = line(one, "item 0", "user_country")
    assert (country.origin, country.raw, country.default, country.value) == ("default", None, "", None)
    surface = line(one, "item 0", "context_surface")
    assert (surface.origin, surface.value) == ("computed", "search")
    assert line(one, "item 0", "surface").origin == "request"
    assert line(one, "item 0", "theme").default == "light"
    assert line(one, "item 2", "item_genres").raw == ["drama", "drama"]
    assert one.proof.holds, "degraded values are proven as well"


def test_contributions_add_up_to_the_margin_of_the_score(workspace: Workspace, bundle: Bundle) -> None:
    write(workspace, ranked("ann", request_id="mine"))
    for item in only(workspace, bundle, "mine").items:
        effects = [entry.contribution for entry in item.features if entry.contribution is not None]
        assert len(effects) == len(MODEL)
        assert effects == sorted(effects, key=abs, reverse=True)
        assert item.base is not None
        assert item.margin == pytest.approx(item.base + sum(effects), abs=1e-5)
        assert item.score == pytest.approx(1 / (1 + math.exp(-item.margin)), abs=1e-5)


def altered(workspace: Workspace, column: str, item: str, value: Any) -> None:
    """One value of the log changed behind its back."""
    (segment,) = closed_segments(workspace.serving_log)
    table = pq.read_table(segment.candidates, partitioning=None)
    values = table[column].to_pylist()
    values[table["item_id"].to_pylist().index(item)] = value
    place = table.schema.get_field_index(column)
    pq.write_table(
        table.set_column(place, column, pa.array(values, table.schema.field(column).type)), segment.candidates
    )


def next_float(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(9)))


def test_one_changed_bit_of_an_input_is_found_and_named(workspace: Workspace, bundle: Bundle) -> None:
    write(workspace, ranked("ann", request_id="mine"))
    altered(workspace, "model__item_popularity", "item 2", next_float(popularity("item 2")))
    proof = only(workspace, bundle, "mine").proof
    assert not proof.holds
    ((item, feature, logged, recomputed),) = proof.wrong_inputs
    assert (item, feature, recomputed) == ("item 2", "item_popularity", popularity("item 2"))
    assert logged == next_float(recomputed)
    assert (proof.wrong_scores, proof.wrong_order) == ((), ())


def test_a_changed_raw_value_a_changed_score_and_a_changed_place_are_found(
    workspace: Workspace, bundle: Bundle
) -> None:
    logged = ranked("ann", request_id="mine")
    write(workspace, logged)
    altered(workspace, "pair_seen", "item 1", 9.0)
    proof = only(workspace, bundle, "mine", top=1).proof
    assert [wrong[:2] for wrong in proof.wrong_inputs] == [("item 1", "pair_seen")]
    altered(workspace, "pair_seen", "item 1", None)
    assert only(workspace, bundle, "mine").proof.holds
    score = float(logged.ranking.scores[3])
    altered(workspace, "score", "item 3", next_float(score))
    assert only(workspace, bundle, "mine").proof.wrong_scores == (("item 3", next_float(score), score),)
    altered(workspace, "score", "item 3", score)
    altered(workspace, "rank", ITEMS[logged.ranking.order[0]], 3)
    assert only(workspace, bundle, "mine").proof.wrong_order == (ITEMS[logged.ranking.order[0]],)


def test_an_answer_without_the_model_has_no_scores_to_prove(workspace: Workspace, bundle: Bundle) -> None:
    write(workspace, without_model(ranked("ann", request_id="mine")))
    one = only(workspace, bundle, "mine")
    assert (one.proof.is_possible, one.proof.holds) == (False, False)
    assert [item.item_id for item in one.items] == list(ITEMS)
    assert one.items[0].score is None
    assert line(one, "item 1", "item_plays").raw == 1.0
    assert line(one, "item 1", "item_plays").contribution is None
    assert run(["receipt", "mine"]) == 0


@pytest.mark.usefixtures("bundle")
def test_repeated_ids_are_all_told_and_one_can_be_chosen(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = ranked("ann", request_id="r"), ranked("bob", request_id="r", at=AT + DAY)
    write(workspace, first, second)
    log = workspace.serving_log
    assert [found.user_id for found in find(log, Wanted("r"))] == ["ann", "bob"]
    assert [found.user_id for found in find(log, Wanted("r", served_id=second.served_id))] == ["bob"]
    assert [found.user_id for found in find(log, Wanted("r", day=date(2026, 3, 2)))] == ["bob"]
    assert [found.user_id for found in find(log, Wanted("r", user_id="ann"))] == ["ann"]
    assert run(["receipt", "r"]) == 0
    assert "2 requests have this id" in capsys.readouterr().out


def test_finding_reads_one_row_group_of_the_candidates(workspace: Workspace) -> None:
    """Served ids rise with time, so the row groups' statistics lead to one."""
    log = ServingLog.start(
        workspace.serving_log, LogSettings(batch_candidates=4, keep_days=0, queue_requests=500)
    )
    for number in range(6):
        log.offer(ranked(request_id=f"r{number}"))
    log.close()
    (found,) = find(workspace.serving_log, Wanted("r3"))
    metadata = pq.ParquetFile(found.segment.candidates).metadata
    column = metadata.schema.names.index("served_id")
    ranges = [metadata.row_group(group).column(column).statistics for group in range(metadata.num_row_groups)]
    assert len(ranges) == 6
    assert sum(bounds.min <= found.served_id <= bounds.max for bounds in ranges) == 1
    assert found.candidates["item_id"].to_pylist() == list(ITEMS)


@pytest.mark.usefixtures("bundle")
def test_why_a_request_is_not_there_is_said(workspace: Workspace) -> None:
    out = next(name for name in map(str, range(99)) if not is_sampled(name, 0.5))
    inside = next(name for name in map(str, range(99)) if is_sampled(name, 0.5))
    with pytest.raises(MissingInputError, match="among 0 segments"):
        find(workspace.serving_log, Wanted("mine"))
    write(workspace, ranked(inside), ranked(out, request_id="mine"), sample=0.5)
    with pytest.raises(MissingInputError, match=f"user '{out}' is not among the 0.5 of users"):
        find(workspace.serving_log, Wanted("mine", user_id=out))
    with pytest.raises(MissingInputError, match=r"only 0\.5 of users are logged, --user tells"):
        find(workspace.serving_log, Wanted("mine"))
    log = ServingLog.start(workspace.serving_log, LogSettings(keep_bytes=1))
    log.offer(ranked(inside, request_id="gone"))
    assert log.close().deleted_segments > 0
    with pytest.raises(MissingInputError, match="were deleted by retention"):
        find(workspace.serving_log, Wanted("gone"))
    with pytest.raises(MissingInputError, match="of 2026-03-01, segments were deleted by retention"):
        find(workspace.serving_log, Wanted("gone", day=date(2026, 3, 1)))


def test_a_missing_bundle_and_a_strange_item_are_named(workspace: Workspace, bundle: Bundle) -> None:
    write(workspace, ranked(request_id="mine"), ranked(request_id="other", version="gone"))
    assert run(["receipt", "other"]) == 1, "of a bundle that is not there"
    assert run(["receipt", "other", "--bundle", "v1"]) == 0
    (logged,) = find(workspace.serving_log, Wanted("mine"))
    with pytest.raises(RequestError, match="item 9: no candidate of this request"):
        receipt(logged, bundle, items=["item 9"])
    assert run(["receipt", "mine", "--item", "item 9"]) == 2


@pytest.mark.usefixtures("bundle")
def test_the_verb_shows_a_table_and_the_proof(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    write(workspace, ranked("ann", request_id="mine"))
    assert run(["receipt", "mine", "--item", "item 2", "--features", "0"]) == 0
    out = capsys.readouterr().out
    assert f"4 x {len(MODEL)} inputs, 4 scores and their order recomputed, equal in every bit" in out
    assert "item 2" in out
    assert "item 1" not in out
    for name in MODEL:
        assert name in out
    altered(workspace, "model__item_popularity", "item 2", 0.5)
    assert run(["receipt", "mine", "--date", "2026-03-01"]) == 1
    assert "item 2: item_popularity was 0.5" in capsys.readouterr().out


@pytest.mark.usefixtures("bundle")
def test_the_verb_writes_json(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    write(workspace, replace(ranked("nobody", request_id="mine"), model="home"))
    assert run(["receipt", "mine", "--json", "--top", "1"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert told["proven"] is True
    assert told["request"]["received_timestamp"] == "2026-03-01T12:30:00+00:00"
    assert told["request"]["model"] == "home"
    assert len(told["items"]) == 1
    assert {entry["origin"] for entry in told["items"][0]["features"]} >= {"stored", "default", "computed"}
