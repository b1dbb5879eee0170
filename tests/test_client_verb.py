"""`marquee rank` against real servers: the explained table, several addresses, models, tokens, degraded answers."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest
from online_world import OnlineWorld
from scripted_server import Script, scripted
from test_client_server import SETTINGS, TOKEN, serving

from feature_repo.workspace import HOME_VARIABLE
from marquee.__main__ import run
from marquee.ranking_table import show
from ranking_service.client import DegradedView, RankedItem, Ranking
from ranking_service.settings_sections import SecuritySettings

Capture = pytest.CaptureFixture[str]
AT = "2026-03-01T12:30"
NUMBER = re.compile(r"^\s*([+-]\d+\.\d{4})\s", re.MULTILINE)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("MARQUEE_TLS_CA", "MARQUEE_TLS_CERTIFICATE", "MARQUEE_TLS_KEY", "MARQUEE_TOKEN"):
        monkeypatch.delenv(name, raising=False)


def said(capsys: Capture, line: str, code: int = 0) -> str:
    """What a run prints, on either stream."""
    found = run(["rank", "--timeout", "5", *line.split()])
    printed = capsys.readouterr()
    assert found == code, printed.err
    return printed.out + printed.err


def test_each_item_is_explained_by_numbers_that_add_up(online_world: OnlineWorld, capsys: Capture) -> None:
    with serving(online_world, replace(SETTINGS, explained_features=3)) as address:
        text = said(
            capsys, f"--address {address} --user ann --candidates item-1,item-2 --at {AT} --limit 2 --explain"
        )
    assert "complete" in text
    tables = text.split("why ")[1:]
    assert [table[:2] for table in tables] == ["1.", "2."]
    for table in tables:
        *parts, margin = [float(number) for number in NUMBER.findall(table)]
        assert len(parts) == 1 + 3 + 1  # base, the three named, all others
        assert sum(parts) == pytest.approx(margin, abs=0.0005)
        assert "what the model expects" in table
        assert "what user_activity means" in table
        assert "1.5" in table


def test_what_was_missing_is_shown_as_missing(online_world: OnlineWorld, capsys: Capture) -> None:
    with serving(online_world) as address:
        text = said(capsys, f"--address {address} --user ann --candidates unknown --at {AT} --explain")
    (line,) = [line for line in text.splitlines() if "what item_popularity means" in line]
    assert "missing" in line
    assert "item_stats 1" in text


def test_several_addresses_share_the_calls_and_a_dead_one_costs_nothing(capsys: Capture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as found:
        dead = f"127.0.0.1:{found.getsockname()[1]}"
    with scripted(Script("alive")) as alive:
        for _ in range(3):
            assert "bundle alive" in said(capsys, f"--address {dead},{alive} --user ann --candidates a,b")


def test_model_and_priority_are_sent(capsys: Capture) -> None:
    script = Script()
    with scripted(script) as address:
        text = said(
            capsys,
            f"--address {address} --user ann --candidates a --model next --priority prefetch --limit 3",
        )
    assert "model next" in text
    (request,) = script.calls
    assert not isinstance(request, list)
    assert (request.model, request.priority, request.limit) == ("next", 2, 3)


def test_the_token_comes_from_a_file_or_the_environment(
    online_world: OnlineWorld, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tokens").write_text(f"web:{TOKEN}\n")
    (tmp_path / "token").write_text(TOKEN)
    settings = replace(SETTINGS, security=SecuritySettings(tokens_file=str(tmp_path / "tokens")))
    with serving(online_world, settings) as address:
        line = f"--address {address} --user ann --candidates a"
        assert "token" in said(capsys, line, 1)
        assert "level 0" in said(capsys, f"{line} --token-file {tmp_path / 'token'}")
        monkeypatch.setenv("MARQUEE_TOKEN", TOKEN)
        assert "level 0" in said(capsys, line)
    assert str(tmp_path / "gone") in said(capsys, f"{line} --ca {tmp_path / 'gone'}", 2)


def shown(capsys: Capture, ranking: Ranking) -> str:
    show(ranking, "ann", {})
    return " ".join(capsys.readouterr().out.split())


def test_a_degraded_answer_says_level_views_and_age(capsys: Capture) -> None:
    ranking = Ranking(
        request_id="r",
        items=(RankedItem("a", 0.5, 0, None),),
        bundle_version="v",
        level=2,
        micros={},
        incomplete_candidates=0,
        missing_by_view={},
        degraded_views=(DegradedView("item_stats", 1, 480, 12.3), DegradedView("user_stats", 2, 0, 0.0)),
        reason="[redis] did not answer within 20 ms",
        explanation_skipped=True,
    )
    text = shown(capsys, ranking)
    assert "level 2: declared defaults" in text
    assert "this answer is degraded: [redis] did not answer within 20 ms" in text
    assert "item_stats: last-known rows for 480 candidates, not confirmed for up to 12.3 s" in text
    assert "user_stats: declared defaults for rows that could not be read" in text
    assert "not explained: the time did not suffice; raise --timeout" in text
    model_free = shown(capsys, replace(ranking, level=3, degraded_views=()))
    assert "level 3: the model did not score" in model_free
    assert "0.5" not in model_free
    assert "not explained" not in model_free  # there is nothing to explain


def test_a_complete_answer_lacks_nothing(capsys: Capture) -> None:
    text = shown(capsys, Ranking("r", (RankedItem("a", 0.5, 0, None),), "v", 0, {"total": 1}, 0, {}))
    assert "degraded" not in text
    assert "level 0: complete" in text
