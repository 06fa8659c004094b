"""An attempt that an agent does not show: whether it never had it, or spoke before it knew."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from qgjob_coordinator.service.agents.live import UNSEEN_BEATS, LiveSession
from qgjob_coordinator.service.agents.messages import Recall
from qgjob_coordinator.service.agents.recalls import Recalls
from qgjob_coordinator.service.agents.session import Session, Times
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.org_faults import OrgFaults


class Stream:
    """A session with two attempts, and what the agent says of them."""

    def __init__(self) -> None:
        nothing = cast(Any, None)
        self.session = Session("agent-1", 1, 8, nothing, Times(5000, 15000, 60000, 5000, 0, 0))
        self.recalls = Recalls(self.session, nothing, nothing, nothing, nothing, faults=OrgFaults())
        for token in ("t1", "t2"):
            self.session.take(Lease("acme", f"u-{token}", token, "g", "d1", 1), 0)
        self._live = cast(LiveSession, SimpleNamespace(session=self.session, recalls=self.recalls))

    def beats(self, number: int, *shown: str) -> None:
        for _ in range(number):
            LiveSession._check_unseen(self._live, set(shown))

    @property
    def questions(self) -> list[int]:
        return [m.recall_id for m in self.session.outbox if isinstance(m, Recall) and not m.tokens]


@pytest.fixture
def stream() -> Stream:
    return Stream()


async def test_heartbeats_that_were_held_up_end_no_session(stream: Stream) -> None:
    stream.beats(10 * UNSEEN_BEATS)
    assert stream.session.refused is None
    assert len(stream.questions) == 1, "one question for all of them is enough"
    await stream.recalls.answered(stream.questions[0], [])
    stream.beats(10, "t1", "t2")
    assert stream.session.refused is None


async def test_what_is_not_shown_after_the_answer_ends_the_session(stream: Stream) -> None:
    stream.beats(UNSEEN_BEATS, "t1")
    assert stream.questions == []
    stream.beats(1, "t1")
    await stream.recalls.answered(stream.questions[0], [])
    assert stream.session.refused is None
    stream.beats(1, "t1")
    assert stream.session.refused is not None


async def test_an_answer_from_before_the_attempt_was_missed_says_nothing_of_it(stream: Stream) -> None:
    stream.beats(UNSEEN_BEATS + 1, "t1")
    await stream.recalls.answered(stream.questions[0], [])
    stream.beats(1, "t1", "t2")
    stream.beats(UNSEEN_BEATS + 5, "t1")
    assert stream.session.refused is None
    await stream.recalls.answered(stream.questions[1], [])
    stream.beats(1, "t1")
    assert stream.session.refused is not None
