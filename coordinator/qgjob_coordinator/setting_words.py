"""What a wrong setting is told: `NAME: VALUE (from SOURCE) PROBLEM; WHAT TO DO`.

The coordinator and the agent have each a copy of this module, since they share no code; a test holds the two equal.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args

from dotenv.parser import parse_stream

ENVIRONMENT = "the environment"
DEFAULTS = "the defaults"
NODE_ENV = "NODE_ENV"
"""Stands for ENVIRONMENT where that is not set."""

_SWITCH = "is not true or false; give one of them"
_TEXT = "is not a text; write one in quotes"
_SAID = {
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "string_type": _TEXT,
    "path_type": _TEXT,
    "string_too_short": "is empty; give it a value or leave it out",
    "missing": "is set; give it a value",
}
"""By pydantic's name of the error, where nothing else counts."""


def line(name: str, value: object, source: str, problem: str) -> str:
    """The whole line. `source` is the environment, the path of a file, an option, or the defaults."""
    return f"{name}: {_shown(value)} (from {source}) {problem}"


def _shown(value: object) -> str:
    """The value as Python writes it, but for what is not there and for tables, which nobody wrote so."""
    if value is None:
        return "nothing"
    return "a table" if isinstance(value, Mapping) else repr(value)


def of_node_env(value: str) -> str:
    """The ENVIRONMENT that a NODE_ENV means. It is other programs' variable too, and these know `test`, `staging`, …"""
    return "production" if value.lower() == "production" else "development"


def problem_of(error: Mapping[str, Any], field: object, known: Sequence[str] = ()) -> str:
    """The problem and what to do, of one of pydantic's errors.

    `field` is what the setting was declared as, for its limits; `known` are the names that its table may have.
    """
    kind, context = str(error["type"]), error.get("ctx") or {}
    if kind in _SAID:
        return _SAID[kind]
    if kind.startswith("int_"):
        return f"is not a whole number; give one {_span(field)}".rstrip()
    if kind in ("float_parsing", "float_type", "finite_number"):
        return f"is not a number; give one {_span(field)}".rstrip()
    if kind.startswith(("greater_than", "less_than")):
        return f"is out of range; give a number {_span(field)}"
    if kind in ("literal_error", "enum"):
        return f"is not known; give one of {str(context['expected']).replace(' or ', ', ').replace(chr(39), '')}"
    if kind == "extra_forbidden":
        near = get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0.75)
        return f"is not a setting; {f'did you mean {near[0]}? There' if near else 'there'} are {', '.join(known)}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "is not a table; give it the settings that it may have"
    if kind in ("tuple_type", "list_type"):
        return f"is not a list; {_as_list(error['input'])}"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    message = str(error["msg"])
    return f"is not valid: {message[0].lower()}{message[1:]}"


def _as_list(value: object) -> str:
    """How a value is written that should have been a list."""
    if isinstance(value, Mapping):
        return "write a table in double brackets for each of its items"
    try:
        words = shlex.split(value) if isinstance(value, str) else [value]
    except ValueError:  # a quote is not closed
        words = [value]
    return f"write a list of words, as in {json.dumps(words, ensure_ascii=False, default=str)}"


def _span(field: object) -> str:
    """`from 0 to 100`, by the limits that a field was declared with; nothing where it has none."""
    limits = {
        name: getattr(each, name)
        for each in _metadata(field)
        for name in ("ge", "gt", "le", "lt")
        if hasattr(each, name)
    }
    low = f"from {limits['ge']}" if "ge" in limits else f"over {limits['gt']}" if "gt" in limits else ""
    if "le" not in limits:
        return low.replace("from", "of at least")
    return f"{low} {'to' if 'ge' in limits else 'and up to'} {limits['le']}".strip()


def _metadata(declared: object) -> Iterator[object]:
    for each in getattr(declared, "metadata", ()):
        yield each
        yield from _metadata(each)
    for part in (*get_args(declared), *get_args(getattr(declared, "annotation", None))):
        yield part
        yield from _metadata(part)


def dotenv_problem(path: Path) -> str | None:
    """Why a `.env` can't be read, as a line that names it; None when it can, or when there is none."""
    try:
        with path.open(encoding="utf-8") as file:
            bindings = list(parse_stream(file))
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path}: can't be read ({error.strerror}); mend it, or move it away"
    except UnicodeDecodeError:
        return f"{path}: can't be read (it is not UTF-8); mend it, or move it away"
    for each in bindings:
        if each.error or (each.key is not None and each.value is None):
            blank = len(each.original.string) - len(each.original.string.lstrip())
            number = each.original.line + each.original.string[:blank].count("\n")
            return f"{path}: line {number} is not NAME=value; mend it, or make it a comment with #"
    return None
