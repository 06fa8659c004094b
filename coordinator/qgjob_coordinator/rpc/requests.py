"""What callers send, as the model has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.model.enums import DeviceHealth, Priority, Status, Target
from qgjob_coordinator.rpc.numbers import HEALTH, STATUS
from qgjob_coordinator.service.calls.keeping_runs import bound_to
from qgjob_coordinator.service.calls.submission import Submission
from qgjob_coordinator.store.types.submissions import BoundTo
from qgjob_proto.v1 import jobs_pb2, types_pb2

_PRIORITIES = {0: None, 1: Priority.LOW, 2: Priority.MEDIUM, 3: Priority.HIGH}
_PRIORITY_WORDS = tuple(p.word for p in Priority)
_TARGETS = {0: None, 1: Target.EMULATOR, 2: Target.DEVICE, 3: Target.BROWSERSTACK}
_STATUS_BACK = {n: Status(w) for w, n in STATUS.items()}
_HEALTH_BACK = {n: DeviceHealth(w) for w, n in HEALTH.items()}


def _known(field: str, number: int, words: Mapping[int, Any], names: Iterable[Any]) -> Any:
    """The model's word for an enum number. Raises InvalidError for a number that this version does not know."""
    if number not in words:
        raise InvalidError(field, f"{number} is unknown; use one of {', '.join(map(str, names))}")
    return words[number]


def priority_in(number: int) -> Priority | None:
    """None for UNSPECIFIED."""
    return _known("priority", number, _PRIORITIES, _PRIORITY_WORDS)  # type: ignore[no-any-return]


def target_in(number: int, field: str = "target") -> Target | None:
    """None for UNSPECIFIED."""
    return _known(field, number, _TARGETS, Target)  # type: ignore[no-any-return]


def view_in(number: int) -> int:
    """How jobs are shown: the number itself."""
    names = [word.removeprefix("JOB_VIEW_").lower() for word in jobs_pb2.JobView.keys()[1:]]
    return _known("view", number, {n: n for n in jobs_pb2.JobView.values()}, names)  # type: ignore[no-any-return]


def status_in(field: str, number: int) -> Status | None:
    """None for UNSPECIFIED."""
    return _known(field, number, {0: None, **_STATUS_BACK}, Status)  # type: ignore[no-any-return]


def health_in(number: int) -> DeviceHealth | None:
    """None for UNSPECIFIED."""
    return _known("health", number, {0: None, **_HEALTH_BACK}, DeviceHealth)  # type: ignore[no-any-return]


def time_in(field: str, value: Timestamp) -> int:
    """A Timestamp in ms. Raises InvalidError for one outside the years 1 to 9999."""
    if not -62_135_596_800 <= value.seconds <= 253_402_300_799 or not 0 <= value.nanos < 1_000_000_000:
        raise InvalidError(field, "is not a time")
    return value.seconds * 1000 + value.nanos // 1_000_000


def submission_in(m: jobs_pb2.SubmitJobRequest) -> Submission:
    """A submission as it came. Raises InvalidError for unknown enum numbers."""
    s = Submission(m.org_id, m.app_version_id, m.test_path)
    if m.priority:
        s.priority = priority_in(m.priority)
    if m.target:
        s.target = target_in(m.target)
    s.no_dedup = m.no_dedup
    # The rest has presence; ListFields sees at once what there is.
    for field, value in m.ListFields():
        read = _OPTIONAL.get(field.name)
        if read is not None:
            setattr(s, field.name, read(value))
    return s


def bound_to_in(m: jobs_pb2.SubmitJobsRequest) -> BoundTo | None:
    """The client that the call's runs are bound to. Raises InvalidError."""
    if not m.HasField("cancel_on_disconnect"):
        return None
    return bound_to(m.cancel_on_disconnect.client_id, m.cancel_on_disconnect.after_seconds)


def given(message: Any, field: str) -> Any:
    """The value of a field with presence; None when it is unset."""
    return getattr(message, field) if message.HasField(field) else None


def _requirements_in(m: types_pb2.Requirements) -> dict[str, object]:
    names = ("platform", "os_version", "device_model", "device_id")
    return {**{name: given(m, name) for name in names}, "labels": dict(m.labels)}


def _as_it_is(value: object) -> object:
    return value


_OPTIONAL: dict[str, Callable[[Any], object]] = {
    "job_id": _as_it_is,
    "run_id": _as_it_is,
    "labels": dict,
    "env": dict,
    "requirements": _requirements_in,
    "max_retries": _as_it_is,
    "idempotency_key": _as_it_is,
    "supersede": _as_it_is,
    "suite_digest": _as_it_is,
    "not_before": lambda value: time_in("not_before", value),
    "timeout_seconds": _as_it_is,
    "queue_timeout_seconds": _as_it_is,
    "overflow_target": lambda number: target_in(number, "overflow_target"),
    "overflow_after_seconds": _as_it_is,
}
