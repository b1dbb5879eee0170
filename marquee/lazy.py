"""A command group that imports a verb's module only when that verb runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

import click


@dataclass(frozen=True)
class Verb:
    """Where a verb lives, and its line in `--help`."""

    target: str
    """"module:name" of a click command or group."""
    summary: str


class LazyGroup(click.Group):
    """A group over a table of verbs; listing them imports nothing."""

    def __init__(
        self,
        name: str | None = None,
        *,
        verbs: dict[str, Verb],
        help: str | None = None,
        params: list[click.Parameter] | None = None,
    ) -> None:
        super().__init__(
            name, help=help, params=params, context_settings={"help_option_names": ["-h", "--help"]}
        )
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.verbs:
            return None
        module, _, name = self.verbs[cmd_name].target.partition(":")
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.summary) for name, verb in self.verbs.items()])
