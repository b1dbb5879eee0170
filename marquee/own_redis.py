"""`marquee redis`: a private Redis for trying things out."""

from __future__ import annotations

import signal
import threading

import click


@click.command()
def redis() -> None:
    """Run a Redis of your own on a free port of this machine until Ctrl-C; it keeps nothing.

    Prints the line that makes the other verbs use it.
    """
    from feature_repo.workspace import REDIS_VARIABLE
    from materialization.private_redis import private_redis

    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    with private_redis() as server:
        click.echo(f"export {REDIS_VARIABLE}={server.url}")
        stopping.wait()
