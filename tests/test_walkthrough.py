"""The README's walk-through of adding a feature, done to the letter on a copy of the code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from materialization.private_redis import private_redis
from ranking_service.bundle import load
from ranking_service.models.registry import Registry

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("feature_repo", "materialization", "ranking_service", "skew_checks", "marquee")


@dataclass(frozen=True)
class Copy:
    """A copy of the code with a workspace and a Redis of its own."""

    folder: Path
    redis_url: str

    @property
    def home(self) -> Path:
        return self.folder / ".marquee"

    def marquee(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "MARQUEE_HOME": str(self.home),
            "MARQUEE_REDIS_URL": self.redis_url,
            "COLUMNS": "200",
        }
        command = [sys.executable, "-m", "marquee", *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False
        )


@pytest.fixture
def copy(tmp_path: Path):  # type: ignore[no-untyped-def]
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    with private_redis() as redis:
        yield Copy(tmp_path, redis.url)


def diff_of_the_readme() -> str:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (diff,) = re.findall(r"```diff\n(.*?)```", readme, re.DOTALL)
    return str(diff)


def test_a_feature_added_as_the_readme_says_is_checked_built_trained_and_stored(copy: Copy) -> None:
    size = ("--users", "150", "--items", "150", "--days", "7")
    split = ("--test-days", "1", "--rounds", "20")
    for verb in (
        ("events", "simulate", *size),
        ("features", "build", "--every", "24h"),
        ("features", "apply"),
        ("model", "train", *split),
    ):
        done = copy.marquee(*verb)
        assert done.returncode == 0, done.stderr

    subprocess.run(["git", "apply", "-"], cwd=copy.folder, input=diff_of_the_readme(), text=True, check=True)

    check = copy.marquee("features", "check")
    assert check.returncode == 1, "the served model was trained without the change"
    assert "user_activity" in check.stdout
    assert "user_comments_7d" in check.stdout

    build = copy.marquee("features", "build", "--every", "24h")
    assert build.returncode == 0, build.stderr
    rows = {
        line.split("│")[1].strip(): line.split("│")[2].strip()
        for line in build.stdout.splitlines()
        if "│" in line
    }
    assert int(rows.pop("user_activity")) > 0
    assert set(rows.values()) == {"0"}, "only the changed view is rebuilt"

    for verb in (
        ("features", "apply"),
        ("model", "train", *split),
        ("features", "check"),
        ("features", "materialize", "--view", "user_activity"),
    ):
        done = copy.marquee(*verb)
        assert done.returncode == 0, done.stderr + done.stdout
    newest = max((copy.home / "features" / "user_activity").glob("*/*.parquet"))
    assert pq.read_table(newest).column("user_comments_7d").null_count == 0
    assert "user_comments_7d" in load(Registry.open(copy.home / "models").latest()).contract.feature_names
