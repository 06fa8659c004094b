"""Values of a file that are of another type than their setting: TOML has types, so that text is no number there.

Variables of the environment are always text, and are read as what they stand for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

from qgjob_agent.setting_words import problem_of

_ERRORS: dict[object, str] = {bool: "bool_type", int: "int_type", float: "float_type"}
"""Pydantic's name of the error, by what is declared, where it would take more: it holds all others to their type."""


@dataclass(frozen=True, slots=True)
class Mistyped:
    """A setting as it is called in the file, such as `devices[0].udid`, its value, and what is told of that."""

    setting: str
    value: object
    problem: str


def mistyped(model: type[BaseModel], raw: Mapping[str, Any], prefix: str = "") -> Iterator[Mistyped]:
    """The values of a table of the file that are of another type than what they are for."""
    for name, field in model.model_fields.items():
        if name in raw:
            yield from _within(field.annotation, field, prefix + name, raw[name])


def _within(declared: object, field: object, setting: str, value: object) -> Iterator[Mistyped]:
    kind = _bare(declared)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if isinstance(value, Mapping):
            yield from mistyped(kind, value, f"{setting}.")
    elif get_origin(kind) is tuple:
        kinds = get_args(kind)
        for index, item in enumerate(value if isinstance(value, list) else []):
            one = kinds[0] if ... in kinds else kinds[min(index, len(kinds) - 1)]
            yield from _within(one, field, f"{setting}[{index}]", item)
    elif kind in _ERRORS and isinstance(value, (str, bool, int, float)):
        number = not isinstance(value, (str, bool))
        if not (isinstance(value, bool) if kind is bool else number):
            unquoted = ", without quotes" if isinstance(value, str) else ""
            yield Mistyped(setting, value, problem_of({"type": _ERRORS[kind]}, field) + unquoted)


def _bare(declared: object) -> object:
    """The type in `Annotated[type, ...] | None`."""
    if get_origin(declared) is Annotated:
        return _bare(get_args(declared)[0])
    kinds = [each for each in get_args(declared) if each is not type(None)]
    return _bare(kinds[0]) if type(None) in get_args(declared) and len(kinds) == 1 else declared
