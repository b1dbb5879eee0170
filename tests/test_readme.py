"""The README is always true: its commands exist, with the options it gives them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from marquee.__main__ import cli

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code_lines(page: Path) -> list[str]:
    """Lines of the page's fenced code blocks, with `$ ` and comments taken off, continued lines joined."""
    blocks = re.findall(r"```\w*\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+#.*$", "", line).removeprefix("$ ").strip() for line in lines]


def commands(program: str) -> list[tuple[str, list[str]]]:
    found = []
    for page in PAGES:
        for line in code_lines(page):
            words = re.sub(r"^([A-Z_]+=\S+ )+", "", line).split(" | ")[0]
            if words.startswith(f"{program} ") and "..." not in words:
                found.append((page.name, shlex.split(words)[1:]))
    return found


@pytest.mark.parametrize(("page", "arguments"), commands("marquee"))
def test_every_marquee_command_in_the_docs_exists(page: str, arguments: list[str]) -> None:
    command: click.Command = cli
    context = click.Context(cli)
    rest = list(arguments)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest.pop(0))
        assert found is not None, f"{page}: marquee {shlex.join(arguments)}"
        command = found
    known = {
        option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
    }
    given = {word.split("=")[0] for word in rest if word.startswith("-")} - {"--help", "-h"}
    assert given <= known, f"{page}: marquee {shlex.join(arguments)}"


@pytest.mark.parametrize(("page", "arguments"), commands("make"))
def test_every_make_target_in_the_docs_exists(page: str, arguments: list[str]) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    named = [word for word in arguments if "=" not in word]
    assert set(named) <= set(targets), f"{page}: make {shlex.join(arguments)}"


def test_the_readme_gives_commands_at_all() -> None:
    assert len(commands("marquee")) >= 10
    assert {"demo", "test"} <= {word for _, words in commands("make") for word in words}


def test_every_file_the_docs_point_to_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"
