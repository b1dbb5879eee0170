"""Wrong usage, damaged files and missing steps, verb by verb: an exit code, the thing by name, no traceback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from worlds import checkerboard

from feature_repo.errors import EventDataError, FeatureError, RequestError, SettingError
from feature_repo.workspace import HOME_VARIABLE, REDIS_VARIABLE, Workspace
from marquee.__main__ import cli, run
from marquee.lazy import LazyGroup
from marquee.rank import _show
from materialization.declared import parse_interval
from materialization.events.store import EventStore
from materialization.feast_settings import connection_string
from materialization.feast_store import apply_definitions
from materialization.feature_build.build import DAY, build_features
from ranking_service.client import Contribution, Explanation, RankedItem, Ranking, RankingClient

NOWHERE = "redis://127.0.0.1:1/0"
"""A well-formed address where nothing listens."""
TRAIN = ("model", "train", "--rounds", "2", "--test-days", "2", "--threads", "1")

Capture = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """Events, built features and an applied registry, which names absolute paths: it cannot be copied."""
    workspace = checkerboard(tmp_path_factory.mktemp("world"), days=8)
    build_features(workspace, every=DAY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(HOME_VARIABLE, str(workspace.home))
        patch.delenv(REDIS_VARIABLE, raising=False)
        apply_definitions(workspace)
    return workspace


@pytest.fixture
def home(world: Workspace, monkeypatch: Patch) -> Workspace:
    """The world, as the environment names it; without a Redis."""
    monkeypatch.setenv(HOME_VARIABLE, str(world.home))
    monkeypatch.delenv(REDIS_VARIABLE, raising=False)
    return world


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: Patch) -> Path:
    """A workspace where nothing was done yet; without a Redis."""
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(REDIS_VARIABLE, raising=False)
    return tmp_path / "home"


def test_the_version_names_the_libraries_that_answers_depend_on(capsys: Capture) -> None:
    assert run(["--version"]) == 0
    told = capsys.readouterr().out
    for name in ("marquee", "feast", "xgboost"):
        assert f"{name} {version(name)}" in told


@pytest.fixture
def damaged() -> Iterator[Callable[[Path], Path]]:
    """Cuts a file in half; everything is whole again afterwards."""
    kept: list[tuple[Path, bytes]] = []

    def cut(path: Path) -> Path:
        kept.append((path, path.read_bytes()))
        path.write_bytes(kept[-1][1][: len(kept[-1][1]) // 2])
        return path

    yield cut
    for path, content in kept:
        path.write_bytes(content)


def said(capsys: Capture, arguments: Sequence[str], code: int) -> str:
    """What the invocation printed, in one line; it must end with `code`."""
    capsys.readouterr()
    found = run(list(arguments))
    printed = capsys.readouterr()
    text = " ".join(f"{printed.out} {printed.err}".split())
    assert found == code, text
    assert "Traceback" not in text
    return text


def verbs(group: LazyGroup, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every path of words that ends in a command."""
    found = []
    for name in group.verbs:
        command = group.get_command(click.Context(group), name)
        found += verbs(command, (*before, name)) if isinstance(command, LazyGroup) else [(*before, name)]
    return found


@pytest.mark.parametrize("verb", verbs(cli), ids=" ".join)
def test_every_verb_refuses_an_unknown_option_and_explains_itself(
    verb: tuple[str, ...], empty: Path, capsys: Capture
) -> None:
    assert "--nonsense" in said(capsys, [*verb, "--nonsense"], 2)
    assert "Usage" in said(capsys, [*verb, "--help"], 0)
    assert not empty.exists()


WRONG_USAGE = [
    ("nonsense", "nonsense"),
    ("events nonsense", "nonsense"),
    ("events simulate --users 0", "--users"),
    ("events simulate --items 0", "--items"),
    ("events simulate --days 0", "--days"),
    ("events simulate --days 99999999999", "--days"),
    ("events simulate --seed -1", "--seed"),
    ("events simulate --start 9999-12-31", "--start"),
    ("events simulate --start 2024-01-01T03:00", "--start"),
    ("events simulate --start yesterday", "--start"),
    ("events import kuairand", "FOLDER"),
    ("events import kuairand /no/such/folder", "/no/such/folder"),
    ("events import movietweetings /no/such/folder", "/no/such/folder"),
    ("features build --workers 0", "--workers"),
    ("features build --every 5s", "5s"),
    ("features build --every 0m", "0m"),
    ("features build --every 99999999999d", "99999999999d"),
    ("features build --every 9999999d", "9999999d"),
    ("features build --from 0001-01-01 --to 0001-01-02", "--from"),
    ("features build --to 9999-12-31 --every 30000d", "--to"),
    ("features build --from 2024-03-05 --to 2024-03-04", "--from 2024-03-05"),
    ("features build --from 2199-01-01", "--from 2199-01-01"),
    ("features build --view nope", "nope"),
    ("features materialize", REDIS_VARIABLE),
    ("features materialize --incremental", REDIS_VARIABLE),
    ("features materialize --from 2030-01-01 --to 2024-01-01", "--from 2030-01-01"),
    ("features materialize --from 2030-01-01 --incremental", "--incremental"),
    ("features materialize --view nope", "nope"),
    ("model train --rounds 0", "--rounds"),
    ("model train --patience 0", "--patience"),
    ("model train --threads -1", "--threads"),
    ("model train --seed -1", "--seed"),
    ("model train --validate-days 0", "--validate-days"),
    ("model train --test-days 99999999999", "--test-days"),
    ("model train --label height", "height"),
    ("model train --objective guess", "guess"),
    ("model evaluate --resamples 0", "--resamples"),
    ("model evaluate --seed -1", "--seed"),
    ("serve", REDIS_VARIABLE),
    ("rank", "--user"),
    ("rank --user u --limit -1", "--limit"),
    ("rank --user u --limit 99999999999", "--limit"),
    ("rank --user u --timeout -1", "--timeout"),
    ("rank --user u --at 9999-01-01", "--at"),
    ("rank --user u --candidates @/no/such/file", "/no/such/file"),
    ("rank --user u --candidates @/", "--candidates"),
    ("rank --user u --candidates @/dev/null", "/dev/null"),
    ("rank --user u --candidates a --address nowhere", "nowhere"),
    ("rank --user u --candidates a --address 127.0.0.1:99999", "127.0.0.1:99999"),
    ("skew check --date x", "--date"),
    ("skew check --date 9999-12-31", "--date"),
    ("skew check --date 2024-01-01 --from 2024-01-01", "--date"),
    ("skew check --from 2024-01-02 --to 2024-01-01", "--from 2024-01-02"),
    ("skew check --sample 0", "--sample"),
    ("bench rank --rounds 1", "--rounds"),
    ("bench rank --candidates 0", "--candidates"),
    ("bench rank --own", REDIS_VARIABLE),
    ("bench skew --own --speed 1e5", "--own"),
    ("bench skew --drawn 1 --only wrong-model,lag", "--drawn"),
    ("bench skew --only no-such-defect", "no-such-defect"),
    ("bench skew --shares 0", "--shares"),
]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("line", "named"), WRONG_USAGE, ids=[line for line, _ in WRONG_USAGE])
def test_wrong_usage_exits_2_and_is_named(line: str, named: str, capsys: Capture) -> None:
    assert named in said(capsys, line.split(), 2)


NOT_YET = [
    ("events describe", "marquee events simulate"),
    ("events import kuairand {folder}", "log_standard_*.parquet"),
    ("events import movietweetings {folder}", "ratings.dat.gz"),
    ("features build", "marquee events simulate"),
    ("model train", "marquee events simulate"),
    ("model evaluate", "marquee model train"),
    ("rank --user u", "marquee events simulate"),
    ("rank --user u --candidates a --address 127.0.0.1:1", "marquee serve"),
    ("serve --redis redis://127.0.0.1:1", "marquee model train"),
]


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize(("line", "named"), NOT_YET, ids=[line for line, _ in NOT_YET])
def test_a_step_out_of_order_names_the_verb_that_comes_before(
    line: str, named: str, tmp_path: Path, capsys: Capture
) -> None:
    assert named in said(capsys, line.format(folder=tmp_path).split(), 1)


@pytest.mark.usefixtures("empty")
def test_before_anything_is_built_materialize_names_the_build(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, NOWHERE)
    assert "marquee features build" in said(capsys, ["features", "materialize"], 1)
    assert "marquee features apply" in said(capsys, ["features", "materialize", "--to", "2024-01-01"], 1)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("more", [[], ["--incremental"]])
def test_materialize_refuses_a_range_without_snapshots(
    more: list[str], monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, NOWHERE)
    text = said(capsys, ["features", "materialize", "--to", "2020-01-01", *more], 1)
    assert "2020-01-01" in text
    assert "between 2026-03-03 00:00 and 2026-03-10 00:00" in text


@pytest.mark.usefixtures("home")
def test_materialize_past_the_newest_snapshot_is_a_backward_range(
    monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, NOWHERE)
    assert "2030-01-01" in said(capsys, ["features", "materialize", "--from", "2030-01-01"], 2)


BAD_URLS = ["nonsense", "redis://", "redis://h:1/abc", "redis://h:1/-1", "redis://h:99999", "redis://h:x"]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("url", [*BAD_URLS, "redis://[", "redis://[::1]:6379", "http://h:1/0"])
def test_an_unusable_redis_url_is_a_setting_error(url: str, monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, url)
    assert REDIS_VARIABLE in said(capsys, ["features", "materialize"], 2)
    with pytest.raises(SettingError, match=REDIS_VARIABLE):
        connection_string(url)


@pytest.mark.parametrize("line", ["events describe", "features build", " ".join(TRAIN), "rank --user u"])
def test_a_truncated_event_file_is_named_by_whoever_reads_it(
    line: str, home: Workspace, damaged: Callable[[Path], Path], capsys: Capture
) -> None:
    path = damaged(sorted((home.events / "exposures").glob("*/*.parquet"))[2])
    assert str(path) in said(capsys, line.split(), 1)


def test_an_event_file_that_is_gone_is_missed(home: Workspace, tmp_path: Path, capsys: Capture) -> None:
    path = sorted((home.events / "exposures").glob("*/*.parquet"))[2]
    shutil.move(path, tmp_path / "away")
    try:
        text = said(capsys, ["events", "describe"], 1)
    finally:
        shutil.move(tmp_path / "away", path)
    assert "252 rows in 7 files, expected 288" in text


def test_damage_inside_an_event_file_is_found_by_reading(
    home: Workspace, damaged: Callable[[Path], Path], capsys: Capture
) -> None:
    path = sorted((home.events / "exposures").glob("*/*.parquet"))[2]
    content = path.read_bytes()
    damaged(path).write_bytes(content[:8] + b"\0\1\2\3" * 200 + content[808:])
    assert str(home.events) in said(capsys, ["events", "describe"], 1)
    assert str(home.events) in said(capsys, TRAIN, 1)
    with pytest.raises(EventDataError, match="damaged file"):
        EventStore(home.events).read("exposures")


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": 1}', '{"format": 99}', "null"])
def test_a_damaged_source_description_is_named(
    content: str, home: Workspace, damaged: Callable[[Path], Path], capsys: Capture
) -> None:
    damaged(home.events / "source.json").write_text(content)
    assert "source.json" in said(capsys, ["events", "describe"], 1)


def test_a_truncated_partition_is_named_and_the_build_mends_it(
    home: Workspace, damaged: Callable[[Path], Path], monkeypatch: Patch, capsys: Capture
) -> None:
    path = damaged(sorted(home.feature_path("user_totals").glob("*/*.parquet"))[-2])
    monkeypatch.setenv(REDIS_VARIABLE, NOWHERE)
    for line in (TRAIN, ("features", "materialize", "--view", "user_totals")):
        text = said(capsys, line, 1)
        assert str(path) in text
        assert "marquee features build" in text
    said(capsys, ["features", "build", "--every", "1d"], 0)


def test_a_view_that_was_never_built_is_named(
    home: Workspace, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    shutil.move(home.feature_path("user_totals"), tmp_path / "away")
    monkeypatch.setenv(REDIS_VARIABLE, NOWHERE)
    try:
        for line in (TRAIN, ("features", "materialize")):
            text = said(capsys, line, 1)
            assert "user_totals" in text
            assert "marquee features build" in text
    finally:
        shutil.move(tmp_path / "away", home.feature_path("user_totals"))


@pytest.mark.parametrize(
    "line", [" ".join(TRAIN), "features plan", "features apply", "features check", "features materialize"]
)
def test_a_truncated_registry_names_the_way_out(
    line: str, home: Workspace, damaged: Callable[[Path], Path], monkeypatch: Patch, capsys: Capture
) -> None:
    monkeypatch.setenv(REDIS_VARIABLE, NOWHERE)
    path = damaged(home.registry)
    text = said(capsys, line.split(), 1)
    assert str(path) in text
    assert "marquee features apply" in text


@pytest.mark.parametrize(
    ("line", "code"),
    [("events describe", 2), ("events simulate", 2), ("model evaluate", 2), ("skew check", 4)],
)
@pytest.mark.parametrize("place", ["{file}", "{file}/below", "~nobody-of-this-name/x", "x" * 300])
def test_a_home_that_can_be_no_folder_is_a_setting_error(
    place: str, line: str, code: int, tmp_path: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    """The skew check's 2 is a verdict."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(HOME_VARIABLE, place.format(file=tmp_path / "file"))
    assert HOME_VARIABLE in said(capsys, line.split(), code)


@pytest.mark.skipif(os.name != "posix" or not Path("/proc/self").exists(), reason="needs /proc")
def test_a_folder_that_the_system_refuses_is_one_line(monkeypatch: Patch, capsys: Capture) -> None:
    monkeypatch.setenv(HOME_VARIABLE, "/proc/nope")
    text = said(capsys, ["events", "simulate", "--users", "5", "--items", "5", "--days", "2"], 1)
    assert "/proc/nope" in text


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"limit": -1}, "limit"),
        ({"limit": 2**32}, "limit"),
        ({"session_position": -1}, "session_position"),
        ({"session_position": 2**32}, "session_position"),
        ({"at": float("nan")}, "at"),
        ({"at": float("inf")}, "at"),
        ({"at": -1.0}, "at"),
        ({"at": 1e12}, "at"),
        ({"user_id": "\udcff"}, "user_id"),
        ({"candidate_ids": ["a", "\udcff"]}, "candidate_ids[1]"),
        ({"surface": "\udcff"}, "surface"),
    ],
)
def test_what_the_message_cannot_hold_is_a_request_error(arguments: dict[str, object], field: str) -> None:
    values = {"user_id": "u", "candidate_ids": ["a"], **arguments}
    with RankingClient.connect("127.0.0.1:1") as client, pytest.raises(RequestError) as caught:
        client.rank(**values)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("address", ["", "host", "host:", ":1", "host:0", "host:99999", "host:x", "host:²"])
def test_an_address_without_a_usable_port_is_a_setting_error(address: str) -> None:
    with pytest.raises(SettingError, match="host:port"):
        RankingClient.connect(address)


def test_brackets_in_ids_and_reasons_are_shown_as_they_are(tmp_path: Path, capsys: Capture) -> None:
    entry = Contribution("f", "share [/dim] of [bold]", 0.5, None, "[red]")
    item = RankedItem("[/item]", 0.5, 0, Explanation(0.5, 0.0, (entry,), 0.0))
    ranking = Ranking("[/request]", (item,), "[/bundle]", 0, {"total": 1}, 0, {"view": 1})
    _show(ranking, "[/user]", Workspace(tmp_path))
    printed = capsys.readouterr().out
    for text in ("[/user]", "[/item]", "[/request]", "[/bundle]", "[/dim]", "[bold]", "[red]"):
        assert text in printed


@pytest.mark.parametrize("text", ["", "6", "h", "-1h", "1.5h", "1w", "3661d", "9999999999m", "1h "])
def test_an_interval_is_bounded(text: str) -> None:
    with pytest.raises(FeatureError, match="interval"):
        parse_interval(text)
