"""Page sizes and page tokens. A token belongs to one list and says where the next page begins."""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from collections.abc import Sequence
from typing import TypeVar

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.service import validation

DEFAULT = 100
MOST = 1000
MAX_TOKEN = 2048
MAX_ORDER = validation.MAX_INT
"""The store's scores are doubles: whole numbers are exact up to here."""

T = TypeVar("T")


def size(value: object) -> int:
    """A page size; None and 0 mean the default. Raises InvalidError."""
    if value in (None, 0):
        return DEFAULT
    return validation.check_int("page_size", value, 1, MOST)


def scope(*parts: str) -> str:
    """Names a list with its filters: a token of another list is refused."""
    return "\x1f".join(parts)


def _encode(scope_: str, position: list[object]) -> str:
    return base64.urlsafe_b64encode(json.dumps([scope_, *position]).encode()).decode().rstrip("=")


def _decode(token: object, scope_: str) -> list[object] | None:
    if token in (None, ""):
        return None
    value: object = None
    if isinstance(token, str) and len(token) <= MAX_TOKEN:
        # Whatever can't be read is refused below, as a value that is no list.
        with contextlib.suppress(ValueError, binascii.Error, RecursionError):
            value = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    if not isinstance(value, list) or not value:
        raise InvalidError("page_token", "is not a token of this service; begin with the first page")
    if value[0] != scope_:
        raise InvalidError("page_token", "is of another list; begin with the first page")
    return value[1:]


def job_cursor(token: object, scope_: str) -> tuple[int, str] | None:
    """(order, ulid) after which a page of jobs begins. Raises InvalidError."""
    position = _decode(token, scope_)
    if position is None:
        return None
    match position:
        case [int(order), str(ulid)] if type(order) is int and 0 <= order <= MAX_ORDER and validation.is_ulid(ulid):
            return order, ulid
    raise InvalidError("page_token", "is not a token of a job list; begin with the first page")


def job_token(cursor: tuple[int, str] | None, scope_: str) -> str:
    """The token of the page after `cursor`; "" when there is none."""
    return _encode(scope_, list(cursor)) if cursor else ""


def cut(items: Sequence[T], names: Sequence[str], page_size: object, token: object, scope_: str) -> tuple[list[T], str]:
    """One page of `items`, which are sorted by `names`, and the token of the next. Raises InvalidError."""
    most = size(page_size)
    position = _decode(token, scope_)
    first = 0
    if position is not None:
        match position:
            case [str(name)]:
                first = next((i for i, n in enumerate(names) if n > name), len(names))
            case _:
                raise InvalidError("page_token", "is not a token of this list; begin with the first page")
    page = list(items[first : first + most])
    more = first + most < len(items)
    return page, _encode(scope_, [names[first + most - 1]]) if more else ""
