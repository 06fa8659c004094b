"""What is said of a job whose time in the queue is over: never that it was not tried where it was."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import DeviceState, ErrorClass, Outcome, Target
from qgjob_coordinator.model.fleet import Device
from qgjob_coordinator.model.jobs import Attempt, Job, JobError
from qgjob_coordinator.policy.reasons.considered import consider
from qgjob_coordinator.policy.reasons.expired import expired
from tests.fakes.jobs import NOW
from tests.unit.policy.test_explain import device, job

MINUTE = 60_000
OFFLINE = device(state=DeviceState.OFFLINE)
NO_DEVICE = "no device that can serve it is online; start its agent"


def waiting(*attempts: Attempt, begun: int = NOW, round_: int = 1) -> Job:
    """A job that waits a minute from `begun`."""
    times = {"queue_timeout_ms": MINUTE, "queue_deadline": begun + MINUTE}
    return job(attempts=list(attempts), round=round_, **times)


def attempt(number: int, outcome: Outcome | None, error: str | None = None, round_: int = 1) -> Attempt:
    made = Attempt(number, round_, "agent-1", "d1", NOW, outcome)
    made.error = None if error is None else JobError(ErrorClass.INFRASTRUCTURE, error)
    return made


def told(waited: Job, *devices: Device) -> JobError:
    return expired(waited, consider(waited, devices), NOW + 2 * MINUTE)


FAILED = attempt(1, Outcome.DEVICE_ERROR, "Exec format error")
LOST = attempt(2, Outcome.AGENT_LOST)


@pytest.mark.parametrize("attempts", [[], [attempt(1, None)], [attempt(1, Outcome.TEST_FAILED, "red", round_=0)]])
def test_a_job_without_an_attempt_of_this_round_was_not_started(attempts: list[Attempt]) -> None:
    assert told(waiting(*attempts), OFFLINE) == JobError(
        ErrorClass.QUEUE_TIMEOUT, f"not started within 60 s: {NO_DEVICE}"
    )


@pytest.mark.parametrize(
    ("waited", "words"),
    [
        (waiting(FAILED), "of its submission; 1 attempt: Exec format error"),
        (waiting(FAILED, LOST), "of its submission; 2 attempts, the last: agent_lost"),
        (waiting(FAILED, attempt(2, None)), "of its submission; 1 attempt: Exec format error"),
        (waiting(FAILED, begun=NOW + 1), "of its not_before; 1 attempt: Exec format error"),
        (waiting(attempt(1, Outcome.TEST_FAILED, "red", 2), round_=2), "of its retry by hand; 1 attempt: red"),
    ],
)
def test_a_job_that_was_tried_was_not_started_again(waited: Job, words: str) -> None:
    assert told(waited, OFFLINE) == JobError(
        ErrorClass.QUEUE_TIMEOUT, f"not started again within 60 s {words}; now {NO_DEVICE}"
    )


def test_a_job_that_waits_for_its_next_try_blames_no_device() -> None:
    waited = waiting(FAILED)
    waited.not_before = NOW + 3 * MINUTE
    assert told(waited, device()).message.endswith("Exec format error; the next one was to come later than that")
    assert "no device known to the fleet has target emulator" in told(waited).message


def test_what_nothing_could_serve_by_then_is_of_that_class() -> None:
    error = told(waiting(FAILED), device(target=Target.DEVICE))
    assert error.error_class is ErrorClass.NO_RESOURCE
    assert error.message.startswith("not started again within 60 s of its submission; 1 attempt: ")
