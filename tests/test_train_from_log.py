"""Log and wait: what is learned is what was served, with outcomes that can be counted by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from logged_world import ITEMS, publish_bundle, ranked, without_model
from online_world import AT, CONTRACT, MODEL, make_booster

from feature_repo.errors import EventDataError, TrainingDataError
from feature_repo.workspace import HOME_VARIABLE, Workspace
from marquee.__main__ import run
from materialization.events.schemas import EXPOSURES
from materialization.events.store import EventStore
from ranking_service import bundle
from ranking_service.online.fetched import Origin
from ranking_service.serving_log.places import closed_segments
from ranking_service.serving_log.tables import LoggedRanking
from ranking_service.serving_log.writer import ServingLog
from ranking_service.settings_sections import LogSettings
from ranking_service.training.baseline.file import read_baseline
from ranking_service.training.from_log import logged_training_set
from ranking_service.training.train import TrainingSet

DAY, HOUR, MINUTE = 86_400.0, 3_600.0, 60.0
OUTCOMES = [name for name in EXPOSURES.names if EXPOSURES.field(name).type == pa.bool_()]


@dataclass
class Story:
    """Requests that were served, and what people did."""

    workspace: Workspace
    served: list[LoggedRanking] = field(default_factory=list)
    exposures: list[dict[str, Any]] = field(default_factory=list)

    def serve(self, **options: Any) -> LoggedRanking:
        self.served.append(ranked(**{"limit": 3, **options}))
        return self.served[-1]

    def show(
        self,
        to: LoggedRanking,
        place: int,
        *,
        after: float = MINUTE,
        click: bool = False,
        known: float | None = None,
    ) -> str:
        """An exposure of the item at a place of the answer; seconds count from the request. Its id."""
        request = to.ranking.request
        name = f"exposure-{len(self.exposures):04d}"
        row = {
            "exposure_id": name,
            "request_id": request.request_id,
            "user_id": request.user_id,
            "item_id": request.candidate_ids[to.ranking.order[place]],
            "event_timestamp": _instant(request.request_timestamp + after),
            "created_timestamp": _instant(request.request_timestamp + (after if known is None else known)),
            "surface": "search",
            **dict.fromkeys(OUTCOMES, False),
            "click": click,
        }
        self.exposures.append(row)
        return name

    def write(self) -> None:
        log = ServingLog.start(self.workspace.serving_log, LogSettings(keep_days=0, queue_requests=10_000))
        for logged in self.served:
            log.offer(logged)
        assert log.close().written == len(self.served)
        with EventStore(self.workspace.events).rewrite({"kind": "simulation", "label": "click"}) as writer:
            writer.write("exposures", pa.Table.from_pylist(self.exposures, EXPOSURES))

    def learned(self, **options: Any) -> TrainingSet:
        days = {"validate_days": 1, "test_days": 1, **options}
        return logged_training_set(self.workspace, "ranker", label="click", **days)

    def labels(self, **options: Any) -> dict[str, float]:
        """By exposure, without those of the days around."""
        rows = self.learned(**options).labelled.requests
        pairs = zip(rows["exposure_id"].to_pylist(), rows["label"].to_pylist(), strict=True)
        return {name: label for name, label in pairs if name not in self.around}

    around: frozenset[str] = frozenset()


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture
def story(tmp_path: Path) -> Story:
    """A click and a pass on each of the days after the one the tests tell of, the last of them too recent."""
    workspace = Workspace(tmp_path)
    publish_bundle(workspace.models)
    story = Story(workspace)
    names = set()
    for day in (1, 2, 3, 4):
        served = story.serve(user="bob", at=AT + day * DAY)
        names |= {story.show(served, 0, click=True), story.show(served, 1)}
    story.around = frozenset(names)
    return story


def test_a_shown_candidate_is_positive_if_its_outcome_came_in_time(story: Story) -> None:
    served = story.serve()
    clicked, passed = story.show(served, 0, click=True), story.show(served, 1)
    late = story.show(story.serve(), 0, click=True, known=2 * HOUR)
    story.write()
    assert story.labels() == {clicked: 1.0, passed: 0.0, late: 0.0}
    assert story.labels(attribution=timedelta(hours=3)) == {clicked: 1.0, passed: 0.0, late: 1.0}


def test_what_was_not_returned_not_shown_or_shown_too_late_is_left_out(story: Story) -> None:
    served = story.serve()
    shown = story.show(served, 0)
    story.show(served, 3, click=True)
    story.show(served, 1, after=2 * HOUR, click=True)
    story.show(served, 2, after=-MINUTE, click=True)
    story.write()
    assert story.labels() == {shown: 0.0}
    assert story.learned().origin["returned"] == 5 * 3


def test_an_item_shown_twice_is_one_row_positive_if_either_was(story: Story) -> None:
    served = story.serve()
    first = story.show(served, 0)
    story.show(served, 0, after=2 * MINUTE, click=True)
    story.write()
    assert story.labels() == {first: 1.0}


def test_a_repeated_request_is_learned_from_as_it_was_answered_last(story: Story) -> None:
    old = story.serve(request_id="again", surface="home")
    new = story.serve(request_id="again", at=AT + MINUTE, surface="search")
    shown = story.show(new, 0, after=10.0)
    story.write()
    assert story.labels() == {shown: 0.0}
    row = story.learned().labelled.requests.slice(0, 1).to_pylist()[0]
    assert row["request_timestamp"] == AT + MINUTE
    assert story.learned().matrix[0].tobytes() == new.ranking.model_input[new.ranking.order[0]].tobytes()
    assert old.ranking.request.request_timestamp == AT


def test_requests_of_others_with_the_same_id_do_not_mix(story: Story) -> None:
    ann, bob = story.serve(user="ann", request_id="r"), story.serve(user="bob", request_id="r")
    names = {story.show(ann, 0, click=True): 1.0, story.show(bob, 0): 0.0}
    story.write()
    assert story.labels() == names


def test_the_matrix_is_what_the_model_was_given(story: Story) -> None:
    for user in ("ann", "nobody"):
        served = story.serve(user=user)
        for place in range(3):
            story.show(served, place, click=place == 1)
    story.write()
    learned = story.learned()
    assert learned.matrix.dtype == np.float32
    assert learned.contract.feature_names == MODEL
    given = {
        (logged.ranking.request.request_id, item): logged.ranking.model_input[place].tobytes()
        for logged in story.served
        for place, item in enumerate(logged.ranking.request.candidate_ids)
    }
    rows = learned.labelled.requests.select(["request_id", "item_id"]).to_pylist()
    assert len(rows) == 6 + 6
    for row, values in zip(rows, learned.matrix, strict=True):
        assert values.tobytes() == given[(row["request_id"], row["item_id"])]


def test_degraded_answers_are_not_learned_from(story: Story) -> None:
    unread = story.serve(item_origins=[Origin.UNREAD] * 4)
    story.show(unread, 0, click=True)
    story.served.append(without_model(ranked()))
    story.show(story.served[-1], 0, click=True)
    story.write()
    assert story.labels() == {}


def test_a_window_that_is_still_open_is_waited_for(story: Story) -> None:
    story.write()
    days = {int((at - AT) // DAY) for at in story.learned().labelled.seconds}
    assert days == {1, 2, 3}, "of day 4 nothing later is known"


def test_other_bundles_are_used_where_their_inputs_mean_the_same(story: Story) -> None:
    models, booster = story.workspace.models, make_booster()
    country = CONTRACT.features[1]
    other = replace(country, categories=("FR", "DE"))
    turned = replace(CONTRACT, features=(CONTRACT.features[0], other, *CONTRACT.features[2:]))
    bundle.publish(models, version="same", booster=booster, contract=CONTRACT, manifest={})
    bundle.publish(models, version="turned", booster=booster, contract=turned, manifest={})
    names = {}
    for version in ("v1", "same", "turned", "gone"):
        shown = story.show(story.serve(version=version, at=AT - HOUR), 0, click=True)
        if version in ("v1", "same"):
            names[shown] = 1.0
    story.write()
    assert story.labels() == names
    origin = story.learned().origin
    assert (origin["bundles"], origin["left_out"]) == ({"same": 1, "v1": 5}, {"turned": 1, "gone": 1})


def trained(story: Story, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setenv(HOME_VARIABLE, str(story.workspace.home))
    days = ["--validate-days", "1", "--test-days", "1", "--rounds", "5", "--threads", "1"]
    return run(["model", "train", "--from", "serving-log", "--service", "ranker", *days, *arguments])


def test_the_verb_publishes_a_bundle_that_says_where_its_rows_come_from(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        served = story.serve(user=("ann", "bob", "nobody")[number % 3], at=AT + number * MINUTE)
        for place in range(3):
            story.show(served, place, click=(number + place) % 2 == 0)
    story.write()
    assert trained(story, monkeypatch, "--attribution", "30m") == 0
    (path,) = [path for path in story.workspace.models.iterdir() if path.name != "v1"]
    made = bundle.load(path)
    assert made.contract.features[1].categories == CONTRACT.features[1].categories
    assert made.manifest["origin"] == {
        "kind": "serving-log",
        "attribution_seconds": 1800.0,
        "bundles": {"v1": 24},
        "left_out": {},
        "returned": 72,
        "rows": 66,
    }
    assert made.manifest["rows"] == {"all": 66, "train": 62}
    assert made.manifest["split"]["start"] == "2026-03-01T00:00:00+00:00"
    baseline = read_baseline(path)
    assert baseline is not None
    assert (baseline.counts.rows, baseline.counts.users) == (62, 3)
    assert made.manifest["baseline"] == {
        "file": "baseline.npz",
        "fingerprint": baseline.fingerprint,
        "users": 3,
        "requests": 21,
        "rows": 62,
    }


@pytest.mark.parametrize(
    ("spoil", "error", "said"),
    [
        (
            lambda story: shutil.rmtree(story.workspace.serving_log),
            TrainingDataError,
            "has no closed segment",
        ),
        (
            lambda story: shutil.rmtree(story.workspace.models),
            TrainingDataError,
            "no bundle of ranker that is still",
        ),
        (
            lambda story: closed_segments(story.workspace.serving_log)[0].candidates.write_bytes(b"damaged"),
            EventDataError,
            "cannot be read",
        ),
    ],
)
def test_what_keeps_it_from_training_is_said(
    story: Story, spoil: Callable[[Story], object], error: type[Exception], said: str
) -> None:
    story.write()
    spoil(story)
    with pytest.raises(error, match=said):
        story.learned()


def test_too_few_outcomes_are_said(story: Story) -> None:
    story.write()
    with pytest.raises(TrainingDataError, match="0 of 12 returned candidates were shown"):
        story.learned(attribution=timedelta(seconds=1))
    assert len(ITEMS) == 4
