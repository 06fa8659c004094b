"""How many submissions go into one call, and which of them an error is about. Pure."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

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


class Submission(Protocol):
    """What of a submission decides which call it goes into."""

    org_id: str
    run_id: str
    supersede: str

    def ByteSize(self) -> int: ...  # noqa: N802 - protobuf's name


@dataclass(frozen=True, slots=True)
class Calls:
    """Indexes of submissions: a piece is a call. Those in `before` are to be answered before those in `last` go."""

    before: tuple[Sequence[int], ...]
    last: tuple[Sequence[int], ...]


def in_calls(
    requests: Sequence[Submission], *, max_items: int = MAX_JOBS_PER_CALL, max_bytes: int = MAX_BYTES_PER_CALL
) -> Iterator[Calls]:
    """Calls of one org each. Where one is not enough, a run that supersedes another has calls of its own."""

    def cut(indexes: Sequence[int]) -> tuple[Sequence[int], ...]:
        return tuple(chunks(indexes, lambda i: requests[i].ByteSize(), max_items=max_items, max_bytes=max_bytes))

    by_org: dict[str, list[int]] = {}
    for index, request in enumerate(requests):
        by_org.setdefault(request.org_id, []).append(index)
    for indexes in by_org.values():
        if len(pieces := cut(indexes)) == 1:
            yield Calls((), pieces)
            continue
        by_key: dict[tuple[str, str], list[int]] = {}
        for index in indexes:
            key = requests[index].supersede
            by_key.setdefault((key, requests[index].run_id if key else ""), []).append(index)
        for (key, _run), own in by_key.items():
            pieces = cut(own)
            yield Calls(pieces[:-1], pieces[-1:]) if key else Calls((), pieces)


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
