"""Entry point of `marquee`. To add a verb: write `marquee/<verb>.py`, add its line to VERBS."""

from __future__ import annotations

import sys
from importlib.metadata import version

import click

from feature_repo.errors import MarqueeError, RequestError, SettingError
from marquee.lazy import LazyGroup, Verb

VERBS = {
    "demo": Verb("marquee.demo:demo", "The whole street in one go, on a private Redis."),
    "events": Verb("marquee.events:events", "Bring events in, or make some up, and look at them."),
    "features": Verb("marquee.features:features", "Check, apply, build and materialize features."),
    "model": Verb("marquee.model:model", "Train and evaluate rankers."),
    "redis": Verb("marquee.own_redis:redis", "A private Redis until Ctrl-C, for trying things out."),
    "serve": Verb("marquee.serve:serve", "Answer ranking requests over gRPC."),
    "rank": Verb("marquee.rank:rank", "Rank candidates for one user, against a running server."),
    "receipt": Verb("marquee.receipt:receipt", "Rebuild a logged ranking, and prove it."),
    "skew": Verb("marquee.skew:skew", "Prove that what was served equals what the offline path gives."),
    "bench": Verb("marquee.bench:bench", "Measure, next to the floor."),
}
USAGE_ERRORS = (RequestError, SettingError)
LIBRARIES = ("feast", "redis", "duckdb", "xgboost", "grpcio")
"""Whose versions an answer, or a bug report, depends on."""


def _tell_versions(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(
            f"marquee {version('marquee')} ({', '.join(f'{name} {version(name)}' for name in LIBRARIES)})"
        )
        context.exit()


cli = LazyGroup(
    "marquee",
    verbs=VERBS,
    help="""A feature-store-centric ranking platform.

    MARQUEE_HOME names the folder that holds everything (default: .marquee beside the code), MARQUEE_REDIS_URL
    the Redis to use.

    Exit codes: 0 done; 1 could not be done, or a check failed; 2 wrong usage, setting or request; 130
    interrupted.
    """,
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_tell_versions,
            help="The versions of Marquee and of the libraries that its answers depend on.",
        )
    ],
)


def main() -> None:
    """Run the command line; an error meant for a person is one line on stderr."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """The exit code of one invocation."""
    try:
        code = cli.main(arguments, prog_name="marquee", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return 130
    except MarqueeError as error:
        click.echo(f"error: {error}", err=True)
        return 2 if isinstance(error, USAGE_ERRORS) else 1
    except OSError as error:
        place = f"{error.filename}: " if error.filename is not None else ""
        click.echo(
            f"error: {place}{error.strerror or error}; check the place, its permissions and free space",
            err=True,
        )
        return 1
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    main()
