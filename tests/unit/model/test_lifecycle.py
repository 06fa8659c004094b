"""The table of moves, against a drawing of it."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import FINAL, UNFINISHED, Outcome, Status
from qgjob_coordinator.model.lifecycle import IllegalMoveError, JobEvent, move, status_of

# Each row is an event, each letter what becomes of a queued, scheduled, running, completed, failed, cancelled job;
# a dash is a refusal.
TABLE = {
    JobEvent.CLAIM: "s-----",
    JobEvent.START: "-r----",
    JobEvent.PASS: "-cc---",
    JobEvent.FAIL: "-ff---",
    JobEvent.RELEASE: "-qq---",
    JobEvent.EXPIRE: "f-----",
    JobEvent.REJECT: "f-----",
    JobEvent.CANCEL: "xxx---",
    JobEvent.RETRY: "----qq",
}
LETTERS = dict(zip("qsrcfx", Status, strict=True))
PAIRS = [(event, before) for event in JobEvent for before in Status]


@pytest.mark.parametrize(("event", "before"), PAIRS, ids=lambda x: x.value)
def test_every_event_moves_or_is_refused_by_name(event: JobEvent, before: Status) -> None:
    letter = TABLE[event][list(Status).index(before)]
    if letter != "-":
        assert move("acme~1", event, before) is LETTERS[letter]
        return
    with pytest.raises(IllegalMoveError) as e:
        move("acme~1", event, before)
    assert all(word in str(e.value) for word in ("acme~1", event.value, before.value))
    assert (e.value.job_id, e.value.event, e.value.status) == ("acme~1", event, before)


def test_only_a_retry_by_hand_leaves_a_verdict() -> None:
    leaves = {event for event, row in TABLE.items() if any(x != "-" for x in row[3:])}
    assert leaves == {JobEvent.RETRY}
    assert set(Status) == FINAL | UNFINISHED
    assert {s for s in Status if s.final} == FINAL


def test_every_outcome_means_a_final_status() -> None:
    assert {o for o in Outcome if status_of(o) is Status.COMPLETED} == {Outcome.PASSED, Outcome.FLAKY}
    assert {o for o in Outcome if status_of(o) is Status.CANCELLED} == {Outcome.CANCELLED}
    assert all(status_of(o).final for o in Outcome)
