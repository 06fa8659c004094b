"""An agent that nobody will have tries again ever more slowly, and says so ever more rarely."""

from __future__ import annotations

from typing import Any

import pytest
from tenacity import AsyncRetrying, RetryCallState

from qgjob_agent.stream import retry_pace
from qgjob_agent.stream.retry_pace import (
    FIRST_SILENCE_SECONDS,
    LONGEST_PAUSE_SECONDS,
    LONGEST_SILENCE_SECONDS,
    RetryPace,
)
from qgjob_agent.stream.session import Coordinators, Session, _InUseError, _NotConnectedError

USUAL = 1.5
LONGEST_USUAL = 2.0
LONGEST_TURN = 0.1


class Clock:
    """Seconds, as they are set."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(retry_pace, "monotonic_seconds", own)
    return own


def test_a_name_in_use_is_asked_for_ever_more_slowly(clock: Clock) -> None:
    pace = RetryPace()
    assert pace.pause_seconds(USUAL, in_use=False) == USUAL
    pauses = []
    begun = clock.now
    while clock.now < begun + 300:
        pauses.append(pace.pause_seconds(USUAL, in_use=True))
        clock.now += pauses[-1]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (USUAL, LONGEST_PAUSE_SECONDS)
    pace.connected()
    assert pace.pause_seconds(USUAL, in_use=True) == USUAL


def test_a_name_that_comes_free_is_had_a_quarter_later_at_most(clock: Clock) -> None:
    """What a device that moves to another host waits for: that its old agent is given up, after 75 s."""
    pace = RetryPace()
    begun = clock.now
    while clock.now < begun + 75:
        clock.now += pace.pause_seconds(USUAL, in_use=True)
    assert clock.now - begun < 75 * 1.25


def test_another_trouble_is_tried_again_as_usual_after_a_name_was_in_use(clock: Clock) -> None:
    """A coordinator that is back would else wait for up to half a minute for an agent that nothing keeps away."""
    session = Session(Coordinators(("127.0.0.1:1",), "a"), epochs=Any, dispatch=lambda _: None, log=Any)
    in_use = _InUseError("agent_id_in_use", "it is another agent's", "wait")
    trouble = _NotConnectedError("127.0.0.1:1 can't be reached")
    assert _pause_after(session, in_use) <= LONGEST_USUAL
    clock.now += 300
    assert _pause_after(session, in_use) == LONGEST_PAUSE_SECONDS
    assert _pause_after(session, trouble) <= LONGEST_USUAL
    assert _pause_after(session, in_use) <= LONGEST_USUAL


def test_the_pauses_grow_when_all_coordinators_were_tried_and_not_between_them() -> None:
    """Another one may well be there, and what runs has a lease that goes on: one partition and two restarts took it."""
    addresses = tuple(f"127.0.0.1:{n}" for n in (1, 2, 3))
    session = Session(Coordinators(addresses, "a"), epochs=Any, dispatch=lambda _: None, log=Any)
    trouble = _NotConnectedError("127.0.0.1:1 can't be reached")
    pauses = [_pause_after(session, trouble, tries) for tries in range(1, 31)]
    assert all(pause <= LONGEST_TURN for n, pause in enumerate(pauses, 1) if n % 3)
    rounds = pauses[2::3]
    assert all(least <= pause <= least + 0.5 for least, pause in zip((0.1, 0.2, 0.4, 0.8), rounds, strict=False))
    assert all(USUAL <= pause <= LONGEST_USUAL for pause in rounds[4:])


def _pause_after(session: Session, error: Exception, tries: int = 100) -> float:
    state = RetryCallState(retry_object=AsyncRetrying(), fn=None, args=(), kwargs={})
    state.attempt_number = tries
    state.set_exception((type(error), error, None))
    return session._pause(state)


def test_a_reason_is_said_once_then_rarely(clock: Clock) -> None:
    pace = RetryPace()
    begun, said = clock.now, []
    while clock.now < begun + 8 * 3600:
        if pace.is_news("away"):
            said.append(clock.now - begun)
        clock.now += 1.0
    assert said[:4] == [0, FIRST_SILENCE_SECONDS, 3 * FIRST_SILENCE_SECONDS, 7 * FIRST_SILENCE_SECONDS]
    assert said[-1] - said[-2] == LONGEST_SILENCE_SECONDS


def test_another_reason_is_news_and_so_is_what_comes_after_a_session(clock: Clock) -> None:
    pace = RetryPace()
    assert [pace.is_news(reason) for reason in ("a", "b", "a", "b")] == [True, True, False, False]
    pace.connected()
    assert pace.is_news("a")


def test_reasons_that_are_never_the_same_take_no_room(clock: Clock) -> None:
    pace = RetryPace()
    assert all(pace.is_news(f"epoch {n} is too low") for n in range(1000))
    assert len(pace._said) <= 50
