"""Settings of the service: defaults, what a file changes, what it may not say."""

from __future__ import annotations

import tomllib
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from feature_repo.errors import SettingError
from ranking_service.settings import ServiceSettings, read_settings


def written(folder: Path, text: str) -> Path:
    path = folder / "service.toml"
    path.write_text(text)
    return path


def test_without_a_file_the_defaults_hold() -> None:
    assert read_settings(None) == ServiceSettings()


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    settings = read_settings(
        written(tmp_path, "candidate_limit = 10\n[redis]\ntimeout_seconds = 1\n[log]\nsample = 0.0\n")
    )
    assert (settings.candidate_limit, settings.redis.timeout_seconds, settings.log.sample) == (10, 1, 0)
    assert settings.log.segment_seconds == ServiceSettings().log.segment_seconds


def test_every_problem_is_listed(tmp_path: Path) -> None:
    text = """
    candidate_limit = "many"
    requests_per_call = 0
    model_threads = true
    colour = "red"
    [redis]
    timeout_seconds = -1
    host = "x"
    [log]
    sample = 1.5
    """
    with pytest.raises(SettingError) as caught:
        read_settings(written(tmp_path, text))
    for part in (
        "candidate_limit is 'many', but must be a whole number",
        "requests_per_call is 0, but must be positive",
        "model_threads is True, but must be a whole number",
        "unknown key colour",
        "redis.timeout_seconds is -1, but must be positive",
        "unknown key redis.host",
        "log.sample is 1.5, but must be between 0 and 1",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("log = 3", r"log is a table, write \[log\]"),
        ("a = ", "is not TOML"),
        ("[other]", "unknown key other"),
    ],
)
def test_what_is_no_settings_file_says_so(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_settings(written(tmp_path, text))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="cannot be read"):
        read_settings(tmp_path / "absent.toml")


def test_the_documented_settings_are_all_there_are_with_their_defaults(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parent.parent / "docs" / "serving.md").read_text(encoding="utf-8")
    told = page.split("```toml\n")[1].split("```")[0]
    assert read_settings(written(tmp_path, told)) == ServiceSettings()
    raw = tomllib.loads(told)
    for entry in fields(ServiceSettings):
        default = getattr(ServiceSettings(), entry.name)
        if is_dataclass(default):
            assert raw[entry.name].keys() == {inner.name for inner in fields(default)}, entry.name
        else:
            assert entry.name in raw
