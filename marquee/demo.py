"""`marquee demo`: the whole street in one go, by the same verbs anybody would type."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import click

from feature_repo.workspace import HOME_VARIABLE, REDIS_VARIABLE, Workspace
from marquee.terminal import console

SIMULATION = ("--users", "1200", "--items", "1200", "--days", "9", "--seed", "0")
RANKED_USERS = 2
MORE_USERS, MORE_CANDIDATES = 120, 100
START_SECONDS = 60.0
STOP_SECONDS = 15.0
TERMINATED = 128 + signal.SIGTERM
"""Exit code after SIGTERM, as a shell gives it."""


@click.command()
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Folder of KuaiRand-Pure."
)
@click.option(
    "--home", type=click.Path(path_type=Path), help="Workspace [default: .marquee/demo or demo-kuairand]"
)
def demo(data: Path | None, home: Path | None) -> int:
    """Events, features, training, Redis, server, rankings, skew check: each by the verb it prints.

    Uses the Redis of MARQUEE_REDIS_URL, else a private one that is stopped at the end.
    """
    from materialization.private_redis import given_or_private_redis

    signal.signal(signal.SIGTERM, _stop)
    started = time.monotonic()
    beside = Workspace.from_environment().home / ("demo-kuairand" if data else "demo")
    workspace = Workspace((home or beside).resolve())
    os.environ[HOME_VARIABLE] = str(workspace.home)
    with given_or_private_redis() as url:
        os.environ[REDIS_VARIABLE] = url
        console.print(f"[bold]Marquee[/bold] in {workspace.home}, Redis at {url.rsplit('@')[-1]}")
        code = _street(workspace, data)
    _farewell(workspace, seconds=time.monotonic() - started)
    return code


def _stop(*_: object) -> None:
    """End by unwinding, so that server and Redis are stopped too."""
    raise SystemExit(TERMINATED)


def _street(workspace: Workspace, data: Path | None) -> int:
    """Every verb in order; returns the skew check's exit code."""
    if data is None:
        _verb("Events: a simulated streaming service", "events", "simulate", *SIMULATION)
    else:
        _verb("Events: the real log", "events", "import", "kuairand", str(data))
    _verb(
        "Features: every view as of every sixth hour, from what was known then",
        "features",
        "build",
        "--fresh",
    )
    _verb("Feast: register the declarations", "features", "apply")
    _verb("Model: fit on features as they were known at request time", "model", "train")
    _verb("Model: against baselines on the last three days", "model", "evaluate")
    _verb("Redis: the newest rows of every view", "features", "materialize")
    with _server() as address:
        _rankings(workspace, address)
    return _verb(
        "Skew: does what was served equal the offline path?", "skew", "check", "--no-drift", may_fail=True
    )


def _rankings(workspace: Workspace, address: str) -> None:
    from marquee.catalogue import active_users, popular_surfaces
    from materialization.feast_store import newest_snapshot

    at = newest_snapshot(workspace) + timedelta(hours=1)
    (surface,) = popular_surfaces(workspace, 1)
    for user in [*active_users(workspace, RANKED_USERS), "a-stranger"]:
        _verb(
            f"Ranking: 500 candidates for {user}, an hour after the newest snapshot",
            *("rank", "--user", user, "--address", address, "--surface", surface),
            *("--at", _iso(at), "--limit", "2", "--explain"),
        )
    _more_rankings(workspace, address, at=at, surface=surface)


def _more_rankings(workspace: Workspace, address: str, *, at: datetime, surface: str) -> None:
    """Enough requests for the skew check to judge by, through the Python client.

    All of one surface and instant: they are no population, so that the demo asks about skew and not about drift.
    """
    from marquee.catalogue import active_users, popular_items
    from ranking_service.client import RankingClient, RankRequest

    users, items = active_users(workspace, MORE_USERS), popular_items(workspace, MORE_CANDIDATES)
    console.print(
        f"\n[bold]Rankings: {MORE_CANDIDATES} candidates for {len(users)} more users[/bold]\n"
        "[dim]RankingClient.rank_many(...)[/dim]"
    )
    started = time.monotonic()
    with RankingClient.connect(address) as client:
        outcomes = client.rank_many(
            RankRequest(user_id=user, candidate_ids=items, surface=surface, at=at, limit=1) for user in users
        )
    for outcome in outcomes:
        outcome.result()
    console.print(f"[dim]{time.monotonic() - started:.1f} s[/dim]")


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M")


def _verb(title: str, *arguments: str, may_fail: bool = False) -> int:
    """Run one verb in its own process, as a person would; its output goes to the terminal."""
    console.print(f"\n[bold]{title}[/bold]\n[dim]$ marquee {shlex.join(arguments)}[/dim]")
    started = time.monotonic()
    finished = subprocess.run([sys.executable, "-m", "marquee", *arguments], check=False)
    console.print(f"[dim]{time.monotonic() - started:.1f} s[/dim]")
    if finished.returncode and not may_fail:
        console.print(
            f"[red]the demo stops here:[/red] marquee {shlex.join(arguments)} ended with {finished.returncode}"
        )
        raise SystemExit(finished.returncode)
    return finished.returncode


@contextmanager
def _server() -> Iterator[str]:
    """`marquee serve` on a free port, until the block ends; yields its address."""
    console.print("\n[bold]Server: the ranking service[/bold]\n[dim]$ marquee serve --port 0[/dim]")
    command = [sys.executable, "-u", "-m", "marquee", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        hanging = threading.Timer(START_SECONDS, process.kill)
        hanging.start()
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            hanging.cancel()
            if not line:
                console.print(f"[red]the demo stops here:[/red] no server within {START_SECONDS:.0f} s")
                raise SystemExit(process.wait() or 1)
            console.print(line.strip())
            yield line.split()[-1]
        finally:
            hanging.cancel()
            process.terminate()
            rest, _ = process.communicate(timeout=STOP_SECONDS)
            console.print(rest.strip())


def _farewell(workspace: Workspace, *, seconds: float) -> None:
    from rich.table import Table

    table = Table(
        "what",
        "where",
        title=f"\nDone in {seconds:.0f} s; everything lies here",
        title_justify="left",
        box=None,
    )
    for name in ("events", "features", "registry", "models", "serving_log", "reports"):
        table.add_row(name.replace("_", " "), str(getattr(workspace, name)))
    console.print(table)
    console.print(f"go on there: export MARQUEE_HOME={workspace.home}")
