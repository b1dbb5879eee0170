"""The registry: in a folder and behind a URI, promotions that race, rollbacks, bundles damaged in every way."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from online_world import CONTRACT, MODEL, make_booster

from feature_repo.errors import BundleError, MissingInputError
from ranking_service import bundle
from ranking_service.models.promotions import Action, Promotion, before, standing
from ranking_service.models.registry import Registry

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WHERES = ["folder", "uri"]


def add(models: Path, version: str) -> Path:
    return bundle.publish(
        models, version=version, booster=make_booster(), contract=CONTRACT, manifest={"of": version}
    )


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for version in ("v1", "v2", "v3"):
        add(tmp_path / "models", version)
    return tmp_path / "models"


@pytest.fixture(params=WHERES)
def registry(request: pytest.FixtureRequest, models: Path, tmp_path: Path) -> Registry:
    """The same bundles, once as a folder and once as a place that must be copied from."""
    where = models if request.param == "folder" else models.as_uri()
    return Registry.open(where, cache=tmp_path / "cache")


def promote(registry: Registry, version: str, note: str = "") -> Promotion:
    meant = bundle.load(registry.folder(version))
    return registry.promote(meant, at=NOW, by="ann", note=note)


def rollback(registry: Registry) -> str:
    return registry.rollback(at=NOW, by="bob").version


def test_the_newest_is_served_until_one_is_promoted(registry: Registry) -> None:
    assert registry.versions() == ["v1", "v2", "v3"]
    assert (registry.promoted(), registry.served()) == (None, "v3")
    assert promote(registry, "v1", "calmer").note == "calmer"
    assert registry.served() == "v1"
    assert bundle.load(registry.latest()).version == "v1"
    told = registry.promotions()
    assert [(entry.number, entry.action, entry.version, entry.by) for entry in told] == [
        (1, Action.PROMOTE, "v1", "ann")
    ]


def test_an_unknown_version_is_refused_with_those_there_are(registry: Registry) -> None:
    for unknown in ("2027", "../models/v1", ".", "", "promotions"):
        with pytest.raises(BundleError, match=r"has no version .*; there are v1, v2, v3"):
            registry.folder(unknown)


def test_a_bundle_is_named_by_version_or_folder(registry: Registry, tmp_path: Path) -> None:
    elsewhere = add(tmp_path / "elsewhere", "other")
    promote(registry, "v2")
    assert registry.chosen("v1").name == "v1"
    assert registry.chosen(str(elsewhere)) == elsewhere
    assert registry.chosen(None).name == registry.chosen("promoted").name == "v2"
    with pytest.raises(BundleError, match=r"no bundle 2027: .*there are v1, v2, v3"):
        registry.chosen("2027")


@pytest.mark.parametrize("where", ["models", "file:///nowhere/models"])
def test_without_a_bundle_the_message_names_the_verb_that_makes_one(where: str) -> None:
    with pytest.raises(MissingInputError, match="marquee model train"):
        Registry.open(where).latest()


def test_a_uri_that_is_none_is_refused() -> None:
    with pytest.raises(BundleError, match="name a folder, or a URI"):
        Registry.open("nothing://bucket/models")


def test_rollbacks_go_back_one_by_one_and_stop_at_the_first(registry: Registry) -> None:
    with pytest.raises(BundleError, match="nothing was promoted yet"):
        rollback(registry)
    for version in ("v1", "v2", "v1", "v3"):
        promote(registry, version)
    assert [rollback(registry) for _ in range(3)] == ["v1", "v2", "v1"]
    with pytest.raises(BundleError, match="v1 is the first that was promoted"):
        rollback(registry)
    promote(registry, "v3")
    assert rollback(registry) == "v1"
    assert len(registry.promotions()) == 9


def test_a_version_promoted_twice_in_a_row_is_left_in_one_step(registry: Registry) -> None:
    for version in ("v1", "v2", "v2"):
        promote(registry, version)
    assert rollback(registry) == "v1"


def test_a_rollback_to_a_damaged_or_exchanged_bundle_is_refused(models: Path) -> None:
    registry = Registry.open(models)
    promote(registry, "v1")
    promote(registry, "v2")
    whole = (models / "v1" / "model.ubj").read_bytes()
    (models / "v1" / "model.ubj").write_bytes(whole[:-1])
    with pytest.raises(BundleError, match=r"model\.ubj is damaged"):
        rollback(registry)
    shutil.rmtree(models / "v1")
    bundle.publish(models, version="v1", booster=make_booster(), contract=CONTRACT, manifest={"of": "other"})
    with pytest.raises(BundleError, match="v1 is not the bundle that was promoted"):
        rollback(registry)
    assert registry.served() == "v2"


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"))))
def test_any_history_is_a_stack(steps: list[tuple[bool, str]]) -> None:
    """Oracle: versions pushed, a rollback pops what is on top."""
    history: list[Promotion] = []
    stack: list[str] = []
    for is_rollback, version in steps:
        if is_rollback:
            if len(stack) < 2:
                with pytest.raises(BundleError):
                    before(history)
                continue
            stack.pop()
            version = before(history).version
            assert version == stack[-1]
        elif not stack or stack[-1] != version:
            stack.append(version)
        action = Action.ROLLBACK if is_rollback else Action.PROMOTE
        history.append(Promotion(len(history) + 1, action, version, "", NOW, "ann"))
    assert [entry.version for entry in standing(history)] == stack


def test_two_rollbacks_at_the_same_moment_withdraw_one_promotion() -> None:
    history = [Promotion(n + 1, Action.PROMOTE, v, "", NOW, "ann") for n, v in enumerate(["a", "b", "c"])]
    at_once = [Promotion(4, Action.ROLLBACK, "b", "", NOW, who) for who in ("ann", "bob")]
    assert [entry.version for entry in standing([*history, *at_once])] == ["a", "b"]


def test_an_entry_survives_the_way_to_its_file() -> None:
    entry = Promotion(3, Action.ROLLBACK, "v1", "abc", NOW + timedelta(microseconds=1), "ann", "würde: \n")
    assert Promotion.from_json(entry.to_json(), "here") == entry


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"action": "promote", "at": 3}', b"\xff"])
def test_a_damaged_entry_is_named(models: Path, content: bytes) -> None:
    registry = Registry.open(models)
    promote(registry, "v1")
    (models / "promotions" / "00000002-aaa.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"00000002-aaa\.json is no whole promotion"):
        registry.served()
    (models / "promotions" / "00000002-aaa.json").unlink()
    assert registry.served() == "v1"


RACE = """
import sys
from datetime import UTC, datetime
from ranking_service.bundle import load
from ranking_service.models.registry import Registry
registry = Registry.open(sys.argv[1])
meant = load(registry.folder(sys.argv[2]))
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    registry.promote(meant, at=datetime.now(UTC), by=sys.argv[2], note=str(number))
"""


def test_promotions_of_several_processes_are_all_kept_and_all_see_the_same_last(models: Path) -> None:
    each = 25
    racers = [
        subprocess.Popen([sys.executable, "-c", RACE, str(models), version, str(each)], stdin=subprocess.PIPE)
        for version in ("v1", "v2", "v3")
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"\n")
        racer.stdin.flush()
    seen: list[int] = []
    watcher = Registry.open(models)
    while any(racer.poll() is None for racer in racers):
        seen.append(len(watcher.promotions()))
    assert [racer.wait() for racer in racers] == [0, 0, 0]
    assert all(earlier <= later for earlier, later in pairwise(seen)), "no entry disappears"
    history = Registry.open(models).promotions()
    for version in ("v1", "v2", "v3"):
        mine = [entry for entry in history if entry.version == version]
        assert [entry.note for entry in mine] == [str(number) for number in range(each)], (
            "in order, none lost"
        )
    assert watcher.promoted() == history[-1]


def test_a_copy_is_made_once_and_made_again_when_it_is_damaged(models: Path, tmp_path: Path) -> None:
    registry = Registry.open(models.as_uri(), cache=tmp_path / "cache")
    copied = registry.folder("v1")
    assert tmp_path / "cache" in copied.parents
    stamp = (copied / "model.ubj").stat().st_ino
    assert registry.folder("v1") == copied
    assert (copied / "model.ubj").stat().st_ino == stamp
    (copied / "model.ubj").write_bytes(b"gone wrong")
    assert bundle.load(registry.folder("v1")).version == "v1"
    assert [path.name for path in copied.parent.iterdir()] == ["v1"], "nothing is left behind"


def test_a_bundle_damaged_in_the_store_is_never_copied(models: Path, tmp_path: Path) -> None:
    registry = Registry.open(models.as_uri(), cache=tmp_path / "cache")
    (models / "v1" / "model.ubj").write_bytes(b"half")
    with pytest.raises(BundleError, match=r"model\.ubj is damaged"):
        registry.folder("v1")
    assert list((tmp_path / "cache").glob("*/*")) == []


def test_a_bundle_is_pushed_whole_and_never_over_another(models: Path, tmp_path: Path) -> None:
    shared = Registry.open((tmp_path / "shared").as_uri(), cache=tmp_path / "cache")
    shared.add(models / "v2")
    assert shared.versions() == ["v2"]
    assert bundle.load(shared.folder("v2")).manifest == bundle.load(models / "v2").manifest
    with pytest.raises(BundleError, match="has version v2; a published version never changes"):
        shared.add(models / "v2")
    (models / "v1" / "model.ubj").write_bytes(b"half")
    with pytest.raises(BundleError, match="damaged"):
        shared.add(models / "v1")
    assert shared.versions() == ["v2"]


def sizes(whole: int) -> list[int]:
    return [0, 1, whole // 3, whole - 1]


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json"])
def test_a_bundle_cut_off_at_any_size_is_refused(models: Path, name: str) -> None:
    path = models / "v1" / name
    whole = path.read_bytes()
    for size in sizes(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(BundleError, match=name):
            bundle.load(models / "v1")


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json"])
def test_no_flipped_bit_goes_unseen(models: Path, name: str) -> None:
    path = models / "v1" / name
    whole = path.read_bytes()

    @given(st.integers(0, len(whole) * 8 - 1))
    @settings(max_examples=60, deadline=None)
    def flipped(bit: int) -> None:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(BundleError):
            bundle.load(models / "v1")

    flipped()


def swap_models(models: Path) -> None:
    other = xgboost.train(
        {"max_depth": 2},
        xgboost.DMatrix(np.ones((8, len(MODEL))), label=np.arange(8), feature_names=list(MODEL)),
        3,
    )
    bundle.publish(models, version="v9", booster=other, contract=CONTRACT, manifest={})
    shutil.copy(models / "v9" / "model.ubj", models / "v1" / "model.ubj")


def signed(folder: Path, model: bytes) -> None:
    """A model of another kind, with a manifest that vouches for it."""
    (folder / "model.ubj").write_bytes(model)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["sha256"]
    manifest["files"] = {"model.ubj": bundle._sha256(model)}
    manifest["sha256"] = bundle._sha256(bundle._canonical(manifest))
    (folder / "manifest.json").write_text(json.dumps(manifest))


def narrow_booster(models: Path) -> None:
    narrow = xgboost.train({}, xgboost.DMatrix(np.ones((4, 2)), label=np.arange(4)), 1)
    signed(models / "v1", bytes(narrow.save_raw("ubj")))


def other_contract(models: Path) -> None:
    """The manifest is whole, but says nothing this version understands."""
    path = models / "v1" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    del manifest["contract"]["views"]
    manifest["sha256"] = bundle._sha256(bundle._canonical(manifest))
    path.write_text(json.dumps(manifest))


def files_elsewhere(models: Path) -> None:
    path = models / "v1" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["sha256"]
    manifest["files"]["../v2/model.ubj"] = "0"
    manifest["sha256"] = bundle._sha256(bundle._canonical(manifest))
    path.write_text(json.dumps(manifest))


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (swap_models, r"model\.ubj is damaged"),
    (
        lambda models: shutil.copy(models / "v2" / "manifest.json", models / "v1" / "manifest.json"),
        "holds version v2",
    ),
    (lambda models: (models / "v1" / "model.ubj").unlink(), r"model\.ubj is missing"),
    (lambda models: (models / "v1" / "manifest.json").unlink(), r"manifest\.json is missing"),
    (lambda models: signed(models / "v1", b"no model at all"), "cannot read it"),
    (lambda models: signed(models / "v1", b"{}"), r"model\.ubj"),
    (narrow_booster, "the model has 2 columns, its contract 10 features"),
    (other_contract, "holds no contract"),
    (files_elsewhere, "plain names"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_bundle_that_does_not_fit_itself_is_refused_with_the_reason(
    models: Path, damage: Callable[[Path], object], reason: str
) -> None:
    damage(models)
    with pytest.raises(BundleError, match=reason):
        bundle.load(models / "v1")
