"""What supervisor and daemon write down for each other, as it is read: the folder is within a test's reach.

So what no supervisor writes is taken for nothing. What ended the daemon here would end each next one too.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from qgjob_agent.core.values import Assignment, LivingProcess, LivingTree, Target
from qgjob_agent.executions import names
from qgjob_agent.host.plain_file import NoPlainFileError, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")
_JOB_ID = re.compile(r'"job_id": ?"([\w.~-]{1,200})"')
_MOST_JOBS = 20
_TIMES_END = 1 << 53
_NUMBERS_END = 1 << 31
"""Fields of messages hold no more; the ones for times do, and nothing lasts so long."""


class RecordError(Exception):
    """What is written down is not as this version writes it: by a newer one, or damaged. Says where, and what is wrong.

    `job_ids` are those that are named in it, as far as that can be told.
    """

    def __init__(self, message: str, job_ids: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.job_ids = list(job_ids)


@dataclass(frozen=True, slots=True)
class Record:
    """A file of a daemon's, as it stands there."""

    name: str
    text: str

    def read(self, take: Callable[[Any], T]) -> T:
        """What `take` makes of its JSON. Raises RecordError where that is not to be made."""
        try:
            return take(json.loads(self.text))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
            raise RecordError(f"{self.name} is not as this version writes it: {error!r}", self.job_ids) from error

    @property
    def job_ids(self) -> list[str]:
        """Those that are named in it, as far as that can be told."""
        return list(dict.fromkeys(_JOB_ID.findall(self.text)))[:_MOST_JOBS]


def record_of(path: Path) -> Record | None:
    """What a daemon has written down there; None where it has not.

    Raises OSError where the disk does not say, RecordError for what is no plain file.
    """
    try:
        return Record(path.name, text_of(path, names.MOST_BYTES))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except NoPlainFileError as error:
        raise RecordError(f"{path.name} is no plain file") from error


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """What a supervisor says at its end. Times are milliseconds."""

    ended_by: str
    exit_code: int | None
    signal: int | None
    cause: str | None
    error: str | None
    started_at_ms: int
    ended_at_ms: int
    duration_ms: int
    lost_output_bytes: int = 0  # of its end, by a disk that refused; earlier versions did not say
    attempt: int | None = None  # of several: the one for whose sake it was ended
    kept_stopped: bool = False  # its supervisor was, so the daemon has ended both and says this; no supervisor does


def result_of(text: str) -> ExecutionResult | None:
    """How an execution ended; None for what is no result."""
    try:
        fields: dict[str, Any] = json.loads(text)
        result = ExecutionResult(**fields)
    except (ValueError, TypeError, RecursionError):
        return None
    times = (result.started_at_ms, result.ended_at_ms, result.duration_ms, result.lost_output_bytes)
    codes = (result.exit_code, result.signal)
    words = (result.cause, result.error)
    sound = (
        result.ended_by in names.ENDS
        and all(is_time(each) for each in times)
        and all(each is None or is_number(each) for each in codes)
        and (result.attempt is None or type(result.attempt) is int)  # it is compared, and not told
        and all(each is None or _is_text(each) for each in words)
        and result.kept_stopped is False
    )
    return result if sound else None


def is_time(value: object) -> bool:
    """Whether that is a time, or bytes, as a message can tell it."""
    return type(value) is int and 0 <= value < _TIMES_END


def is_number(value: object) -> bool:
    """Whether that is a process id, an index or the like."""
    return type(value) is int and 0 <= value < _NUMBERS_END


def _is_text(value: object) -> bool:
    """Whether that is a text as a message can tell it: JSON has halves of characters too."""
    if not isinstance(value, str):
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def living_of(text: str) -> LivingTree | None:
    """What SIGKILL does not end of a tree; None where that is nothing, or for what no supervisor writes."""
    try:
        told: dict[str, Any] = json.loads(text)
        since_ms, rows = told["since_ms"], [list(each) for each in told["processes"]]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    sound = is_time(since_ms) and all(_is_process(row) for row in rows)
    return LivingTree(since_ms, tuple(LivingProcess(*row) for row in rows)) if sound and rows else None


def _is_process(row: list[Any]) -> bool:
    return len(row) == 3 and is_number(row[0]) and _is_text(row[1]) and _is_text(row[2])


def plan_of(attempts: Sequence[Assignment], facts: dict[str, Any]) -> dict[str, Any]:
    """Several attempts, and what their runner needs to begin them, to be written down."""
    return {"assignments": [fields_of(each) for each in attempts], "facts": facts}


def attempts_of(plan: dict[str, Any]) -> list[Assignment]:
    """Those of a plan that was written down, one at least. Raises as `assignment_of` does, and IndexError for none."""
    attempts = [assignment_of(fields) for fields in plan["assignments"]]
    return [attempts[0], *attempts[1:]]


def fields_of(assignment: Assignment) -> dict[str, Any]:
    """An assignment, to be written down."""
    return asdict(assignment) | {"target": assignment.target.value if assignment.target is not None else None}


def assignment_of(fields: dict[str, Any]) -> Assignment:
    """An assignment that was written down. Raises KeyError, TypeError or ValueError for what is none."""
    target = Target(fields["target"]) if fields["target"] else None
    made = Assignment(**fields | {"target": target})
    if not _is_sound(made):
        raise ValueError("a value is of another kind")
    return made


def _is_sound(made: Any) -> bool:
    texts = (made.job_id, made.token, made.device_id, made.org_id, made.app_version_id, made.test_path)
    times = (made.timeout_ms, made.silence_timeout_ms, made.expected_ms)
    return (
        all(_is_text(each) for each in (*texts, made.build_format, made.build_package))
        and all(is_time(each) for each in (*times, made.build_size_bytes, made.suite_size_bytes))
        and (made.install_ms is None or is_time(made.install_ms))
        and is_number(made.attempt)
        and is_number(made.round)
        and all(each is None or _is_text(each) for each in (made.build_digest, made.suite_digest))
        and isinstance(made.env, dict)
        and all(_is_text(each) for pair in made.env.items() for each in pair)
    )
