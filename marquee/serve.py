"""`marquee serve`: the ranking server, in the foreground."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from ranking_service.server.supervisor import Supervisor


@click.command(short_help="Answer ranking requests over gRPC.")
@click.option(
    "--bundle",
    help="A version of the registry, or a bundle's folder. [default: the promoted one, followed as that changes; "
    "without any promotion the newest]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=50051,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option(
    "--workers",
    default=1,
    show_default=True,
    type=click.IntRange(1, 256),
    help="Processes that share the port; about one for each core that is to work on rankings.",
)
@click.option("--redis", "redis_url", envvar="MARQUEE_REDIS_URL", help="The Redis that holds the features.")
@click.option(
    "--log", type=click.Path(path_type=Path), help="Folder of the serving log. [default: the workspace's]"
)
@click.option("--no-log", is_flag=True, help="Log nothing.")
@click.option("--shadow", help="A second bundle that scores a share of the requests off the response path.")
@click.option(
    "--settings", type=click.Path(path_type=Path), help="Settings file. [default: service.toml if there]"
)
def serve(
    bundle: str | None,
    host: str,
    port: int,
    workers: int,
    redis_url: str | None,
    log: Path | None,
    no_log: bool,
    shadow: str | None,
    settings: Path | None,
) -> None:
    """Answer ranking requests until SIGTERM or Ctrl-C; running requests are finished, the log is written.

    Prints a line with the address once requests are answered. A worker process that dies is started again.
    """
    from dataclasses import replace

    from feature_repo.errors import SettingError
    from feature_repo.workspace import Workspace
    from ranking_service.server.logs import logging_as
    from ranking_service.server.supervisor import Supervisor
    from ranking_service.server.task import ServeTask
    from ranking_service.settings import SETTINGS_FILE, read_settings

    if not redis_url:
        raise SettingError(
            "no Redis named; set MARQUEE_REDIS_URL or --redis, such as redis://127.0.0.1:6379/0"
        )
    workspace = Workspace.from_environment()
    beside = workspace.home / SETTINGS_FILE
    chosen = read_settings(settings or (beside if beside.exists() else None))
    if shadow:
        chosen = replace(chosen, shadow=replace(chosen.shadow, bundle=shadow))
    folder = None if no_log else log or workspace.serving_log
    task = ServeTask(redis_url, chosen, bundle, folder, host, port)
    with logging_as(chosen.logging):
        counts = asyncio.run(
            _run(Supervisor(task, workers, _tell))
        )  # before any print: our reader may be gone
    click.echo("stopped")
    if counts:
        added = {name: sum(one[name] for one in counts) for name in ("written", "dropped", "unsampled")}
        click.echo(
            f"logged {added['written']} requests, dropped {added['dropped']}, not sampled {added['unsampled']}"
        )


async def _run(supervisor: Supervisor) -> list[Mapping[str, int]]:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, supervisor.stop)
    return await supervisor.run()


def _tell(address: str, news: Mapping[str, Any]) -> None:
    for doubt in news["doubts"]:
        click.echo(f"warning: {doubt}", err=True)
    versions = dict(news["versions"])
    click.echo(f"serving bundle {versions.pop('promoted')} on {address}")
    for name, version in versions.items():
        click.echo(f"and model {name}: bundle {version}")
