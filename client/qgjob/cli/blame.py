"""What an error of a call is about, in the words of the command line. Pure.

The coordinator names a field of the call, as in `jobs[3].max_retries`. Nobody typed that: the person typed a flag, or
wrote a set of a matrix file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from qgjob._batches import blamed_index, for_single
from qgjob._errors import QgjobError
from qgjob._models import JobSpec
from qgjob.cli.requirements import DeviceSet

E = TypeVar("E", bound=QgjobError)

FLAGS = {
    "org_id": "--org-id",
    "app_version_id": "--app-version-id",
    "test_path": "--test",
    "priority": "--priority",
    "target": "--target",
    "run_id": "--run-id",
    "labels": "--label",
    "requirements": "--require",
    "env": "--env",
    "max_retries": "--max-retries",
    "idempotency_key": "--idempotency-key",
    "timeout_seconds": "--attempt-timeout",
    "queue_timeout_seconds": "--queue-timeout",
    "no_dedup": "--no-dedup",
    "supersede": "--supersede",
    "suite_digest": "--suite",
    "overflow_target": "--overflow-target",
    "overflow_after_seconds": "--overflow-after",
}
"""The flag of each field of a JobSpec that has one."""
_OF_EACH_OTHER = ("overflow_target", "overflow_after_seconds")
"""Fields that what is said of the other one names."""

# These differ from test to test. A wrong value of the others is wrong for all tests, so naming one would mislead.
_OF_ONE_TEST = ("test_path", "idempotency_key")
THE_JOB = {"job_id": "JOB", "job_ids": "JOB"}
"""What is typed for the fields of a call that name jobs; see `in_options`."""
ORG_SETTING = "org_id of the settings (`qgjob config view --show-origin` tells where it is set)"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job to submit; `device_set` is the set of the matrix, as it is written in `matrix`, that it is for."""

    spec: JobSpec
    matrix: str | None = None
    device_set: DeviceSet | None = None


def in_flags(error: E, wanted: Sequence[Wanted], *, org_is_flag: bool = True) -> E:
    """The error with the flag, or the place in the matrix file, where it names a field of the call for `wanted`.

    `org_is_flag` is False where a setting gave the org. An error that names no field of a job keeps its message.
    """
    index = blamed_index(error)
    told = for_single(error)
    path = told.field
    # The rest is a key of labels or env, or a part of the requirements.
    field, _, rest = (path or "").partition(".")
    # Without an index it is what the client itself refuses, or no fault of a job.
    if path is None or (index is None and field not in FLAGS):
        return told
    job = wanted[index] if index is not None and index < len(wanted) else None
    place = _place(field, rest, job) if org_is_flag or field != "org_id" else ORG_SETTING
    reason = told.message.removeprefix(f"{path}: ")
    for other in _OF_EACH_OTHER:
        reason = reason.replace(f"required with {other};", f"required with {FLAGS[other]};")
    if field.endswith("_seconds") and " is out of range; " in reason:
        reason += " (in seconds)"
    if field in _OF_ONE_TEST or field not in FLAGS:
        reason += _of_test(job, wanted, reason)
    return _about(told, FLAGS.get(field, path), place, reason)


def in_options(error: E, typed: Mapping[str, str]) -> E:
    """The error with what was typed, where it names a field of the call for which that is known.

    `typed` has by field an option or an argument, and behind `: ` its value where the call has it in another form. An
    index is nothing that was typed: `job_ids[2]` is found as `job_ids`.
    """
    place, field = typed.get((error.field or "").partition("[")[0]), f"{error.field}: "
    if place is None or not error.message.startswith(field):
        return error
    return _about(copy.copy(error), place.partition(":")[0], place, error.message.removeprefix(field))


def _about(error: E, field: str, place: str, reason: str) -> E:
    error.field = field
    error.message = f"{place}: {reason}"
    error.args = (error.message,)
    return error


def _place(field: str, rest: str, job: Wanted | None) -> str:
    """Where the value was given, with its key where a flag holds several."""
    path = rest if field == "requirements" else field
    if field in ("requirements", "target") and job is not None and job.device_set is not None:
        written = job.device_set
        if _holds(written, path):
            return ".".join(filter(None, (f"--matrix: {job.matrix}: {written.path}", path)))
    if path == "device_id":
        return "--device-id"
    key = rest.removeprefix("labels").removeprefix(".") if field == "requirements" else rest
    return ": ".join(filter(None, (FLAGS.get(field, field), key)))


def _holds(written: DeviceSet, path: str) -> bool:
    """Whether a set of the matrix says what stands at `path`, as in `labels.rack`; any of it where that is empty."""
    name, _, key = path.partition(".")
    if name == "target":
        return written.target is not None
    if name == "labels":
        labels = written.requirements.labels
        return key in labels if key else bool(labels)
    return not name or getattr(written.requirements, name, None) is not None


def _of_test(job: Wanted | None, wanted: Sequence[Wanted], told: str) -> str:
    """Which of several tests it is, unless that is told."""
    several = len({each.spec.test_path for each in wanted}) > 1
    if job is None or not several or repr(job.spec.test_path) in told:
        return ""
    return f" (test {job.spec.test_path!r})"
