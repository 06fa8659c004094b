"""Every `qgjob` command that the docs show exists, with the options that they show."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from qgjob.cli.app import app

ROOT = Path(__file__).parents[3]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "env.example",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("examples/*.toml")),
    *sorted(ROOT.glob("examples/**/*.md")),
]
TREE = typer.main.get_command(app)
# An indented line of shell, or a span of code; shell variables may stand before the command.
SHOWN = re.compile(r"(?:^ {4,}|`)(?:[A-Z_]+=\S+ )*qgjob ((?!\.\.\.)[^`\n]+)", re.MULTILINE)


def shown_commands() -> list[str]:
    found = {
        line.partition(" #")[0].strip() for page in PAGES for line in SHOWN.findall(page.read_text(encoding="utf-8"))
    }
    return sorted(found)


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left of them."""
    command: Any = TREE
    while hasattr(command, "commands"):
        assert words, f"{command.name} is a family of commands; name one"
        name, words = words[0], words[1:]
        assert name in command.commands, f"there is no command {name!r}"
        command = command.commands[name]
    return command, words


def test_the_docs_show_commands():
    assert len(shown_commands()) > 15


@pytest.mark.parametrize("line", shown_commands())
def test_a_shown_command_exists(line):
    words = shlex.split(line)
    if words[0] == "COMMAND" or words == ["--help"]:
        return
    command, rest = resolve(words)
    if command.context_settings.get("ignore_unknown_options"):
        return  # another program's options
    known = options(command)
    used = {word.partition("=")[0] for word in rest if word.startswith("-")}
    assert used - {"--help"} <= known


def leaves(command: Any, name: str = "") -> set[str]:
    if not hasattr(command, "commands"):
        return {name}
    return {leaf for word, child in command.commands.items() for leaf in leaves(child, f"{name} {word}".strip())}


def contract_section(title: str) -> str:
    page = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_contract_lists_every_command_and_no_other():
    table = contract_section("CLI").partition("`--label` only")[0]
    listed = {
        name for cell in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", cell)
    }
    assert listed == leaves(TREE)


def test_what_the_contract_reserves_is_not_there_yet():
    reserved = re.findall(r"`([^`]+)`", contract_section("Reserved").partition("| commands |")[2])
    known = leaves(TREE) | {option for name in ("submit", "run") for option in options(TREE.commands[name])}
    assert set(reserved) & known <= {"submit", "run"}  # the row of flags names these two


def options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
