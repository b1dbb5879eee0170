"""Options of verbs that call a server: where it is, how long to wait, what to show it and what to trust."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from ranking_service.client import RankingClient

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, dir_okay=False)
OPTIONS = (
    click.option(
        "--address",
        default="127.0.0.1:50051",
        show_default=True,
        help="The server's host:port; several, separated by commas, share the calls.",
    ),
    click.option(
        "--timeout",
        default=1.0,
        show_default=True,
        type=click.FloatRange(0.001, 3600),
        help="Seconds to wait for the answer, retries included.",
    ),
    click.option("--tls", is_flag=True, help="Speak TLS, trusting the system's authorities."),
    click.option(
        "--ca", type=FILE, help="Speak TLS, trusting the authorities in this PEM file.  [MARQUEE_TLS_CA]"
    ),
    click.option(
        "--certificate",
        type=FILE,
        help="PEM file of the certificate to show the server.  [MARQUEE_TLS_CERTIFICATE]",
    ),
    click.option("--key", type=FILE, help="PEM file of its key.  [MARQUEE_TLS_KEY]"),
    click.option(
        "--server-name", default="", help="The name in the server's certificate, if not the address."
    ),
    click.option(
        "--token-file",
        type=FILE,
        help="File that holds the token to show.  [MARQUEE_TOKEN_FILE; the token itself: MARQUEE_TOKEN]",
    ),
)


def connection_options(command: Command) -> Command:
    """Adds them; `connect` takes them."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


def connect(
    *,
    address: str,
    tls: bool,
    ca: Path | None,
    certificate: Path | None,
    key: Path | None,
    server_name: str,
    token_file: Path | None,
) -> RankingClient:
    """An option beats its environment variable. Raises SettingError."""
    from ranking_service.client import ClientSecurity, RankingClient

    security = ClientSecurity.from_environment()
    security = replace(
        security,
        tls=tls,
        ca_file=ca or security.ca_file,
        certificate_file=certificate or security.certificate_file,
        key_file=key or security.key_file,
        server_name=server_name,
        token_file=token_file or security.token_file,
    )
    return RankingClient.connect(address, security=security)
