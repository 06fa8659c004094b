"""How models become JSON, and how one can be decoded at its first use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

JSON_NAME = "json_name"
"""Key of a dataclass field's metadata: its name in JSON, where Python forbids that name."""


def unset() -> Any:
    """Default factory of a field that is None unless given.

    Unlike `= None` it leaves no attribute on the class, which would hide a field that is still to be decoded.
    """
    return None


def format_time(moment: datetime) -> str:
    """RFC 3339, UTC, milliseconds, `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_json(value: Any) -> Any:
    """The JSON value of a model or of anything that a model's field holds."""
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {each.metadata.get(JSON_NAME, each.name): to_json(getattr(value, each.name)) for each in fields(value)}
    return value


class Shape:
    """A model with a JSON shape."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The contract's JSON: every field is present, null when unset."""
        shape: dict[str, Any] = to_json(self)
        return shape


class Lazy:
    """A frozen dataclass (without slots) that can be made from a message and decodes it when a field is first read.

    A submitter seldom reads the jobs that it gets back; decoding 28 fields of each would cost more than the submission.
    """

    @classmethod
    def of(cls, decode: Callable[[Any], dict[str, Any]], message: object) -> Any:
        """An instance whose fields `decode(message)` gives."""
        instance = object.__new__(cls)
        instance.__dict__["_source"] = (decode, message)
        return instance

    # Hidden from type checkers, to which it would make every misspelt attribute look right.
    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            values = self.__dict__
            source = values.get("_source")
            if source is not None and not name.startswith("_"):
                decode, message = source
                # In this order, so that another thread finds the source or the fields.
                values.update(decode(message))
                values.pop("_source", None)
            if name in values:
                return values[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
