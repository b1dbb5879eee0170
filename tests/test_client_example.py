"""The example client in TypeScript, built from the proto and run against the ranking server."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from online_world import OnlineWorld
from test_client_server import serving

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "examples" / "typescript"

pytestmark = [
    pytest.mark.skipif(
        shutil.which("node") is None or shutil.which("npm") is None, reason="no node and npm on PATH"
    ),
    pytest.mark.skipif(
        not (FOLDER / "node_modules").is_dir(),
        reason="the TypeScript example's modules are not installed: npm ci in docs/examples/typescript",
    ),
]


def test_the_example_in_typescript_ranks(online_world: OnlineWorld) -> None:
    subprocess.run(["npm", "run", "build"], cwd=FOLDER, check=True, capture_output=True, timeout=120)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MARQUEE_")}
    with serving(online_world) as address:
        done = subprocess.run(
            ["node", "dist/rank.js", address, "ann", "item 1,item 2,item 3,nobody's"],
            cwd=FOLDER,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    print(done.stdout)
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"bundle v1, level 0, \d+ microseconds", lines[0])
    (best,) = [line.split(" ", 1)[1].rsplit(" ", 1)[0] for line in lines if line.startswith("1. ")]
    assert sum(line.startswith("     ") for line in lines) == 9
    assert {line for line in lines if line.startswith("many ")} >= {
        f"many {name}: {best}" for name in ("one", "two", "three")
    }
    assert any(line.startswith("many wrong: user_id: ") for line in lines)
    assert sorted(line for line in lines if line.startswith("stream ")) == sorted(
        f"stream {name}: {best}" for name in ("one", "two", "three")
    )
    assert lines[-1].startswith("INVALID_ARGUMENT candidate_ids[4]: ")
