"""How many submissions go into one call, and which of them an error is about. Pure."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, TypeVar

from qgjob._errors import QgjobError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

T = TypeVar("T")
E = TypeVar("E", bound=QgjobError)

MAX_JOBS_PER_CALL = 1000
# The coordinator refuses messages over 1 MB; some room is left for the frame around the jobs.
MAX_BYTES_PER_CALL = 1_000_000 - 16_384

_JOB_FIELD = re.compile(r"jobs\[(\d+)\]\.?")


def chunks(
    items: Sequence[T],
    size_of: Callable[[T], int],
    *,
    max_items: int = MAX_JOBS_PER_CALL,
    max_bytes: int = MAX_BYTES_PER_CALL,
) -> Iterator[Sequence[T]]:
    """Cut `items` so that each piece stays within both limits. One item over `max_bytes` goes alone."""
    start = size = 0
    for index, item in enumerate(items):
        item_size = size_of(item)
        if index > start and (index - start == max_items or size + item_size > max_bytes):
            yield items[start:index]
            start, size = index, 0
        size += item_size
    if start < len(items):
        yield items[start:]


def blamed_index(error: QgjobError) -> int | None:
    """Which job of the call an error names, as in `jobs[3].test_path`."""
    match = _JOB_FIELD.match(error.field or "")
    return int(match[1]) if match else None


def for_single(error: E) -> E:
    """The error as the submitter of a single job knows it: `test_path` for `jobs[3].test_path`."""
    return _renamed(error, "")


def for_many(error: E, indexes: Sequence[int]) -> E:
    """The error of one call with the index that the job has in the submitter's list."""
    index = blamed_index(error)
    if index is None or index >= len(indexes):
        return error
    return _renamed(error, f"jobs[{indexes[index]}]")


def _renamed(error: E, name: str) -> E:
    match = _JOB_FIELD.match(error.field or "")
    if match is None:
        return copy.copy(error)
    old = match[0]
    new = name + ("." if name and old.endswith(".") else "")
    renamed = copy.copy(error)
    renamed.field = new + (error.field or "")[match.end() :] or None
    renamed.message = error.message.replace(old, new)
    renamed.args = (renamed.message,)
    return renamed
