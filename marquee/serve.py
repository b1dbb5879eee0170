"""`marquee serve`: answer ranking requests over gRPC."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import click


@click.command(short_help="Answer ranking requests over gRPC.")
@click.option(
    "--bundle", help="A version of the workspace, or a bundle's folder. [default: promoted or newest]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    default=50051,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen on; 0 picks a free one.",
)
@click.option("--redis", "redis_url", envvar="MARQUEE_REDIS_URL", help="The Redis that holds the features.")
@click.option(
    "--log", type=click.Path(path_type=Path), help="Folder of the serving log. [default: the workspace's]"
)
@click.option("--no-log", is_flag=True, help="Log nothing.")
@click.option(
    "--settings", type=click.Path(path_type=Path), help="Settings file. [default: service.toml if there]"
)
def serve(
    bundle: str | None,
    host: str,
    port: int,
    redis_url: str | None,
    log: Path | None,
    no_log: bool,
    settings: Path | None,
) -> None:
    """Answer ranking requests until SIGTERM or Ctrl-C; running requests are finished, the log is written.

    Prints a line with the address once requests are answered.
    """
    from feature_repo.errors import SettingError
    from feature_repo.workspace import Workspace
    from ranking_service.models.registry import registry_of
    from ranking_service.online.start_up import doubts
    from ranking_service.server.server import RankingServer
    from ranking_service.settings import SETTINGS_FILE, read_settings

    if not redis_url:
        raise SettingError(
            "no Redis named; set MARQUEE_REDIS_URL or --redis, such as redis://127.0.0.1:6379/0"
        )
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    workspace = Workspace.from_environment()
    beside = workspace.home / SETTINGS_FILE
    server = RankingServer.start(
        registry_of(workspace).chosen(bundle),
        redis_url=redis_url,
        settings=read_settings(settings or (beside if beside.exists() else None)),
        log_folder=None if no_log else log or workspace.serving_log,
        host=host,
        port=port,
    )
    for doubt in doubts(server.servicer.ranker):
        click.echo(f"warning: {doubt}", err=True)
    click.echo(f"serving bundle {server.servicer.ranker.bundle.version} on {server.address}")
    stopping.wait()
    counts = server.stop()  # before any print: whoever read our output may be gone
    click.echo("stopped")
    if counts:
        click.echo(
            f"logged {counts.written} requests, dropped {counts.dropped}, not sampled {counts.unsampled}"
        )
