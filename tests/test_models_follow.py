"""Following promotions: trials in processes that may die, refusals told once, switches between two requests."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from online_world import CONTRACT, OnlineWorld, make_booster

from feature_repo.errors import BundleError, OnlineStoreError, RequestError, SettingError
from ranking_service import bundle
from ranking_service.contract import Contract
from ranking_service.models.follow import Follower
from ranking_service.models.registry import Registry
from ranking_service.models.served import ServedModels, followers_of, named_bundles
from ranking_service.models.trial import Trial
from ranking_service.settings import ServiceSettings, settings_of
from ranking_service.settings_sections import RedisSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SETTINGS = ServiceSettings(redis=RedisSettings(connect_seconds=1.0, timeout_seconds=1.0))
STEP = 0.01


def add(models: Path, version: str, contract: Contract = CONTRACT) -> Path:
    return bundle.publish(models, version=version, booster=make_booster(), contract=contract, manifest={})


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    for version in ("v1", "v2", "v3"):
        add(tmp_path / "bundles", version)
    return Registry.open(tmp_path / "bundles")


def promote(registry: Registry, version: str) -> None:
    registry.promote(bundle.load(registry.folder(version)), at=NOW, by="ann")


# --- trials ---------------------------------------------------------------------------------------------------


def test_a_good_bundle_passes_its_trial(online_world: OnlineWorld) -> None:
    found = bundle.load(online_world.bundle).manifest["sha256"]
    asyncio.run(Trial(online_world.redis_url, SETTINGS)(online_world.bundle, found))


def test_a_trial_says_why_a_bundle_is_refused(online_world: OnlineWorld) -> None:
    trial = Trial(online_world.redis_url, SETTINGS)
    (plan,) = CONTRACT.transforms
    other_code = replace(CONTRACT, transforms=(replace(plan, fingerprint="of other code"),))
    add(online_world.models, "v2", other_code)
    with pytest.raises(BundleError, match="bundle v2 was trained with other code of the transforms"):
        asyncio.run(trial(online_world.models / "v2"))
    with pytest.raises(BundleError, match="v1 is not the bundle that was promoted"):
        asyncio.run(trial(online_world.bundle, "0123456789abcdef"))
    (online_world.bundle / "model.ubj").write_bytes(b"half")
    with pytest.raises(BundleError, match=r"model\.ubj is damaged: 4 bytes"):
        asyncio.run(trial(online_world.bundle))


def test_a_redis_that_is_down_is_no_refusal(online_world: OnlineWorld) -> None:
    with pytest.raises(OnlineStoreError):
        asyncio.run(Trial("redis://127.0.0.1:1/0", SETTINGS)(online_world.bundle))


def test_a_trial_that_runs_out_of_memory_is_a_refusal(online_world: OnlineWorld) -> None:
    trial = Trial(online_world.redis_url, SETTINGS, memory_bytes=150 * 2**20)
    with pytest.raises(BundleError, match=r"bundle v1: its trial crashed \("):
        asyncio.run(trial(online_world.bundle))


@pytest.fixture
def silent_server() -> Iterator[str]:
    """Takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}/0"


PATIENT = ServiceSettings(redis=RedisSettings(connect_seconds=60.0, timeout_seconds=60.0))


def test_a_trial_that_hangs_is_a_refusal_and_leaves_no_process(
    online_world: OnlineWorld, silent_server: str
) -> None:
    with pytest.raises(BundleError, match=r"its trial was not done in 2 s"):
        asyncio.run(Trial(silent_server, PATIENT, seconds=2.0)(online_world.bundle))
    assert children() == set()


@pytest.mark.parametrize("deadly", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_trial_that_dies_is_a_refusal(
    online_world: OnlineWorld, silent_server: str, deadly: signal.Signals
) -> None:
    async def killed() -> None:
        before = children()
        task = asyncio.create_task(Trial(silent_server, PATIENT, seconds=30.0)(online_world.bundle))
        while not children() - before:
            await asyncio.sleep(STEP)
        (pid,) = children() - before
        os.kill(pid, deadly)
        await task

    with pytest.raises(BundleError, match=rf"bundle v1: its trial crashed \({deadly.name}\)"):
        asyncio.run(killed())


def children() -> set[int]:
    """Processes of Python's that this one started and that live."""
    found = Path(f"/proc/{os.getpid()}/task").glob("*/children")
    pids = {int(pid) for path in found for pid in path.read_text().split()}
    return {pid for pid in pids if b"models.trial" in Path(f"/proc/{pid}/cmdline").read_bytes()}


def test_settings_survive_the_way_to_the_trial() -> None:
    from dataclasses import asdict
    from json import dumps, loads

    settings = replace(SETTINGS, models={"calm": "v1"}, follow_seconds=0.0)
    assert settings_of(loads(dumps(asdict(settings)))) == settings


# --- following ------------------------------------------------------------------------------------------------


@dataclass
class Stage:
    """What a follower does, seen from outside; its trial only loads the bundle."""

    registry: Registry
    switched: list[str] = field(default_factory=list)
    tried: list[str] = field(default_factory=list)
    redis_is_down: bool = False
    cannot_switch: str = ""

    def __post_init__(self) -> None:
        self.follower = Follower(self.registry, self.switch, self.try_out, STEP, "v1")

    async def switch(self, path: Path) -> None:
        if self.cannot_switch:
            raise BundleError(self.cannot_switch)
        self.switched.append(path.name)

    async def try_out(self, path: Path, sha256: str | None = None) -> None:
        self.tried.append(path.name)
        if self.redis_is_down:
            raise OnlineStoreError("Redis is down")
        assert bundle.load(path).manifest["sha256"] == sha256

    def look(self, times: int = 1) -> None:
        for _ in range(times):
            asyncio.run(self.follower.look())


@pytest.fixture
def stage(registry: Registry) -> Stage:
    return Stage(registry)


def test_without_a_promotion_or_with_the_served_one_nothing_happens(stage: Stage) -> None:
    stage.look()
    promote(stage.registry, "v1")
    stage.look(2)
    assert (stage.tried, stage.switched) == ([], [])


def test_a_promotion_and_a_rollback_are_followed(stage: Stage) -> None:
    promote(stage.registry, "v1")
    promote(stage.registry, "v2")
    stage.look(3)
    assert (stage.tried, stage.switched, stage.follower.serving) == (["v2"], ["v2"], "v2")
    stage.registry.rollback(at=NOW, by="bob")
    stage.look(3)
    assert (stage.switched, stage.follower.serving, stage.follower.switches) == (["v2", "v1"], "v1", 2)


def test_a_refused_bundle_is_told_once_and_tried_again_when_it_is_promoted_again(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    promote(stage.registry, "v2")
    path = stage.registry.folder("v2") / "model.ubj"
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with caplog.at_level(logging.ERROR):
        stage.look(5)
    assert stage.tried == ["v2"]
    assert len(caplog.records) == 1
    assert stage.follower.refused is not None
    assert stage.follower.refused.version == "v2"
    assert "model.ubj is damaged: 100 bytes" in stage.follower.refused.reason
    assert (stage.follower.serving, stage.switched, stage.follower.refusals) == ("v1", [], 1)
    path.write_bytes(whole)
    stage.look(2)
    assert (stage.tried, stage.switched, stage.follower.refused) == (["v2", "v2"], ["v2"], None)


def test_promoting_a_refused_bundle_again_tries_it_again(stage: Stage) -> None:
    stage.cannot_switch = "no room"
    promote(stage.registry, "v2")
    stage.look(3)
    assert stage.follower.refused == ("v2", "no room")
    stage.cannot_switch = ""
    promote(stage.registry, "v2")
    stage.look(3)
    assert (stage.tried, stage.switched) == (["v2", "v2"], ["v2"])


def test_going_back_from_a_refused_bundle_ends_the_refusal(stage: Stage) -> None:
    promote(stage.registry, "v1")
    stage.cannot_switch = "no room"
    promote(stage.registry, "v2")
    stage.look()
    stage.registry.rollback(at=NOW, by="bob")
    stage.look()
    assert (stage.follower.refused, stage.switched, stage.follower.serving) == (None, [], "v1")


def test_a_bundle_is_tried_until_redis_answers(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    promote(stage.registry, "v2")
    stage.redis_is_down = True
    with caplog.at_level(logging.WARNING):
        stage.look(4)
    assert (len(stage.tried), len(caplog.records), stage.follower.refused) == (4, 1, None)
    assert "cannot be tried now" in stage.follower.trouble
    stage.redis_is_down = False
    stage.look()
    assert (stage.switched, stage.follower.trouble) == (["v2"], "")


def test_a_registry_that_cannot_be_read_keeps_the_served_bundle(stage: Stage) -> None:
    promote(stage.registry, "v2")
    entry = stage.registry.promotions()[0].name
    (Path(stage.registry.root) / "promotions" / f"9{entry}").write_text("{")
    stage.look(2)
    assert "no whole promotion" in stage.follower.trouble
    assert (stage.switched, stage.follower.serving) == ([], "v1")


def test_a_folder_that_is_still_being_copied_is_served_once_it_is_whole(stage: Stage) -> None:
    """Promoted by the machine that has it, copied file by file to the one that follows."""
    source = Path(stage.registry.root) / "v2"
    promote(stage.registry, "v2")
    half = Path(stage.registry.root) / ".v2-elsewhere"
    source.rename(half)
    stage.look()
    assert stage.follower.refused is not None
    assert "has no version v2" in stage.follower.refused.reason
    source.mkdir()
    shutil.copy(half / "manifest.json", source / "manifest.json")
    stage.look(2)
    assert "model.ubj is missing" in stage.follower.refused.reason
    whole = (half / "model.ubj").read_bytes()
    for part in (1000, len(whole) // 2):
        (source / "model.ubj").write_bytes(whole[:part])
        stage.look(2)
        assert f"model.ubj is damaged: {part} bytes" in stage.follower.refused.reason
        assert stage.switched == []
    (source / "model.ubj").write_bytes(whole)
    stage.look()
    assert (stage.switched, stage.follower.refused) == (["v2"], None)


def test_what_is_no_longer_promoted_after_its_trial_is_not_served(registry: Registry) -> None:
    promote(registry, "v1")
    promote(registry, "v2")
    switched: list[str] = []

    async def slow_trial(path: Path, sha256: str | None = None) -> None:  # noqa: ARG001
        if path.name == "v2":
            registry.rollback(at=NOW, by="bob")

    async def switch(path: Path) -> None:
        switched.append(path.name)

    follower = Follower(registry, switch, slow_trial, STEP, "v1")
    asyncio.run(follower.look())
    asyncio.run(follower.look())
    assert (switched, follower.serving) == ([], "v1")


def test_the_whole_way_from_promotion_to_switch_and_a_refusal(
    online_world: OnlineWorld, registry: Registry
) -> None:
    """With trials in processes of their own, while the task runs."""
    switched = asyncio.Event()

    async def switch(path: Path) -> None:
        assert path.name == "v2"
        switched.set()

    async def followed() -> Follower:
        follower = Follower(registry, switch, Trial(online_world.redis_url, SETTINGS), STEP, "v1")
        task = asyncio.create_task(follower.run())
        promote(registry, "v2")
        await asyncio.wait_for(switched.wait(), 60)
        promote(registry, "v3")
        (registry.folder("v3") / "model.ubj").unlink()
        async with asyncio.timeout(60):
            while follower.refused is None:
                await asyncio.sleep(STEP)
        task.cancel()
        return follower

    follower = asyncio.run(followed())
    assert follower.serving == "v2"
    assert follower.refused is not None
    assert "model.ubj is missing" in follower.refused.reason


# --- the models of a server -----------------------------------------------------------------------------------


@dataclass
class Ranked:
    """A ranker that knows when it is closed."""

    bundle: bundle.Bundle
    is_closed: bool = False

    async def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True

    async def __call__(self) -> str:
        assert not self.is_closed
        await asyncio.sleep(0)
        assert not self.is_closed, "closed under a request"
        return self.bundle.version


@asynccontextmanager
async def served(registry: Registry) -> AsyncIterator[ServedModels[Ranked]]:
    loaded = {name: bundle.load(registry.folder(v)) for name, v in (("promoted", "v1"), ("calm", "v2"))}
    models = ServedModels({name: Ranked(one) for name, one in loaded.items()})
    yield models
    await models.close()


def test_a_model_is_found_by_name_and_the_default_by_none(registry: Registry) -> None:
    async def asked() -> None:
        async with served(registry) as models:
            assert models.ranker().bundle.version == models.ranker("promoted").bundle.version == "v1"
            assert models.ranker("calm").bundle.version == "v2"
            assert models.versions() == {"promoted": "v1", "calm": "v2"}
            with pytest.raises(
                RequestError, match="model: 'wild' is none of this server's; it has promoted, calm"
            ):
                models.ranker("wild")

    asyncio.run(asked())


def test_a_switched_model_is_closed_when_its_last_request_is_done(registry: Registry) -> None:
    async def switched() -> None:
        async with served(registry) as models:
            old = models.ranker()
            with models.leased() as first, models.leased() as second:
                closing = models.switch("promoted", Ranked(bundle.load(registry.folder("v3"))))
                assert first is second is old
                assert models.ranker().bundle.version == "v3"
                await asyncio.sleep(STEP)
                assert not old.is_closed
            await closing
            assert old.is_closed
            assert not models.ranker("calm").is_closed

    asyncio.run(switched())


def test_swaps_under_load_never_fail_a_request(registry: Registry) -> None:
    """Every answer comes whole from one ranker that was open all the while; each old one is closed in the end."""

    async def stormed() -> None:
        loaded = [bundle.load(registry.folder(version)) for version in ("v1", "v2", "v3")]
        made = [Ranked(loaded[0])]
        models = ServedModels({"promoted": made[0]})
        answers: list[str] = []
        stopping = False

        async def requests() -> None:
            while not stopping:
                with models.leased() as ranker:
                    version = await ranker()
                assert version == ranker.bundle.version
                answers.append(version)

        callers = [asyncio.create_task(requests()) for _ in range(16)]
        for number in range(100):
            made.append(Ranked(loaded[number % 3]))
            models.switch("promoted", made[-1])
            for _ in range(number % 4):
                await asyncio.sleep(0)
        stopping = True
        await asyncio.gather(*callers)
        assert [ranker.is_closed for ranker in made] == [True] * 100 + [False]
        await models.close()
        assert made[-1].is_closed
        assert set(answers) == {"v1", "v2", "v3"}

    asyncio.run(stormed())


def test_the_models_table_names_versions_folders_and_what_is_promoted(
    registry: Registry, tmp_path: Path
) -> None:
    elsewhere = add(tmp_path / "elsewhere", "mine")
    promote(registry, "v2")
    table = {"calm": "v1", "mine": str(elsewhere), "same": "promoted"}
    found = {name: path.name for name, path in named_bundles(registry, None, table).items()}
    assert found == {"promoted": "v2", "calm": "v1", "mine": "mine", "same": "v2"}
    assert followers_of(None, table) == ("promoted", "same")
    assert followers_of("v3", table) == ("same",)
    with pytest.raises(SettingError, match="choose another"):
        named_bundles(registry, None, {"promoted": "v1"})
    with pytest.raises(BundleError, match="no bundle v9"):
        named_bundles(registry, None, {"calm": "v9"})
