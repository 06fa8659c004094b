"""From a refused request to the error that names its field."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.http import body
from qgjob_coordinator.http.schemas import TAGS
from qgjob_coordinator.service.validation import shown

_WORD = re.compile(r"'([^']*)'")
_KINDS = {
    "string_type": "is not a text",
    "string_unicode": "is not a text",
    "int_type": "is not a whole number",
    "int_from_float": "is not a whole number",
    "int_parsing": "is not a whole number",
    "int_parsing_size": "is not a whole number",
    "float_type": "is not a number",
    "bool_type": "is neither true nor false",
    "dict_type": "is not an object",
    "model_type": "is not an object",
    "model_attributes_type": "is not an object",
    "list_type": "is not a list",
}


def field_of(loc: Sequence[str | int]) -> str:
    """A path as in `jobs[3].labels.suite`; `body` for the body as a whole. Pure ASCII."""
    path = ""
    for part in loc[1:]:
        if part in TAGS:
            continue
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += ("." if path else "") + ascii(part)[1:-1]
    return path or body.FIELD


def invalid_of(errors: Sequence[Mapping[str, Any]]) -> InvalidError:
    """The first of pydantic's errors as ours."""
    error = errors[0]
    return InvalidError(field_of(error["loc"]), _fault(error))


def _fault(error: Mapping[str, Any]) -> str:
    kind, given = error["type"], error.get("input")
    if kind == "extra_forbidden":
        return "is no field of this request; /docs lists them"
    if kind == "missing":
        return "is required"
    if kind.startswith("int_") and isinstance(given, float) and given.is_integer():
        return f"{shown(given)} is written with a fraction; write a whole number"
    if kind in _KINDS:
        return f"{shown(given)} {_KINDS[kind]}"
    context = error.get("ctx", {})
    if kind == "literal_error":
        return f"{shown(given)} is unknown; use one of {', '.join(_WORD.findall(context['expected']))}"
    if kind == "greater_than_equal":
        return f"{shown(given)} is out of range; use at least {context['ge']}"
    if kind == "less_than_equal":
        return f"{shown(given)} is out of range; use at most {context['le']}"
    return str(error["msg"])
