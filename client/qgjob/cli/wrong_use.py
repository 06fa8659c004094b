"""Wrong use of the command line that the parser finds, in one line as all other errors: `error: --option: …`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer

from qgjob.cli import exit_codes
from qgjob.cli.runner import tell

# Its base, by whichever name the parser in use has it.
_WRONG_USE: Any = typer.BadParameter.__mro__[1]
# What a group without a command says: it has its own form, since it is help.
_HELP = "NoArgsIsHelpError"
_CHOICE = re.compile(r"(?P<given>.+) is not one of (?P<words>'.*')\.?")
_NEAR = re.compile(r"(?P<what>No such command .+)\. Did you mean (?P<near>.+)\?")
_WORD = re.compile(r"'([^']*)'")


@contextmanager
def one_line() -> Iterator[None]:
    """What the parser refuses within is told, and the command left."""
    try:
        yield
    except _WRONG_USE as error:
        if type(error).__name__ == _HELP:
            raise
        tell(f"error: {words(error)}")
        raise typer.Exit(exit_codes.USAGE) from None


def words(error: Any) -> str:
    """The option, or the argument, and what is wrong with it."""
    command = error.ctx.command_path if error.ctx is not None else "qgjob"
    parameter = getattr(error, "param", None)
    if parameter is not None:
        name = parameter.opts[-1] if parameter.param_type_name == "option" else parameter.metavar or parameter.name
        message = error.message.removeprefix("Value error, ")
        return f"{name}: {_reason(message)}" if message else f"{name}: is required; see `{command} --help`"
    option = getattr(error, "option_name", None)
    if option is None and (unknown := _NEAR.fullmatch(error.message)):
        return f"{_lower(unknown['what'])}; did you mean {' or '.join(_WORD.findall(unknown['near']))}?"
    if option is None:
        return f"{_lower(error.format_message()).rstrip('.')}; see `{command} --help`"
    if "requires an argument" in error.message:
        return f"{option}: needs a value; write {option}=VALUE"
    if (written := _behind(error.ctx, option)) is not None:
        return f"{option}: is an option of commands; write it behind one, as in `{written}`"
    near = getattr(error, "possibilities", None)
    meant = f"did you mean {' or '.join(sorted(near))}?" if near else f"`{command} --help` lists those that are"
    return f"{option}: is no option of `{command}`; {meant}"


def _behind(context: Any, option: str) -> str | None:
    """How an option of commands is written that stands before one; None where no command below has it."""
    below = [(context.command_path, context.command)] if context is not None else []
    while below:
        path, command = below.pop(0)
        inner = getattr(command, "commands", None)
        if inner is not None:
            below[:0] = [(f"{path} {name}", each) for name, each in inner.items()]
        elif command is not context.command:
            for each in command.params:
                if option in each.opts:
                    value = "" if each.is_flag else "=VALUE" if option.startswith("--") else " VALUE"
                    return f"{path} {option}{value}"
    return None


def _reason(message: str) -> str:
    choice = _CHOICE.fullmatch(message)
    return (
        message
        if choice is None
        else f"{choice['given']} is unknown; use one of {', '.join(_WORD.findall(choice['words']))}"
    )


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]
