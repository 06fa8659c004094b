"""The argv template of the `command` runner, and the QGJOB_* variables that carry the same values."""

from __future__ import annotations

from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PLACEHOLDERS = (
    "test_path",
    "app_version_id",
    "org_id",
    "job_id",
    "attempt",
    "device_id",
    "udid",
    "target",
    "platform",
    "output_dir",
)


class TemplateError(ValueError):
    """The template can't be filled: says which word is wrong and what there is."""


def check_template(argv: Sequence[str]) -> None:
    """Raises TemplateError for an empty template, a lone brace or an unknown placeholder."""
    if not argv or not argv[0]:
        raise TemplateError("the command runner needs a command: a list of words, the program first")
    for word in argv:
        try:
            fields = list(Formatter().parse(word))
        except ValueError as error:
            raise TemplateError(f"{word!r}: {error}; write {{{{ and }}}} for braces") from None
        for _, name, spec, conversion in fields:
            if name is None:
                continue
            if name not in PLACEHOLDERS or spec or conversion:
                known = " ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                raise TemplateError(f"unknown placeholder {{{name}}} in {word!r}; there are {known}")


def fill_template(argv: Sequence[str], values: dict[str, str]) -> list[str]:
    """The words to execute. `values` has every placeholder."""
    return [word.format_map(values) for word in argv]


def of_host(program: str, env: Mapping[str, str], *, in_suite: bool) -> bool:
    """Whether no job has a say in which program a template's first word is: by its `env`, by its values, by its suite.

    `in_suite`: it is begun in a folder that came with the job.
    """
    if any(name is not None for _, name, _, _ in Formatter().parse(program)):
        return False
    if "/" not in program:
        return "PATH" not in env
    return program.startswith("/") or not in_suite


def variables(values: dict[str, str]) -> dict[str, str]:
    """The same values as QGJOB_* variables."""
    return {f"QGJOB_{name.upper()}": value for name, value in values.items()}
