"""Each rule of the agent's protocol is removed in turn, and a shortest story shows the promise that breaks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from qgjob_agent.core import attempts, commands, events, instructions, machine, reporting, sessions
from qgjob_agent.core import values as core_values
from qgjob_agent.core.lease_clock import LeaseClock
from qgjob_agent.core.state import Disk, State
from qgjob_agent.core.values import Finished, Outcome
from tests.unit.agent.test_core_machine import World

Patch = Callable[[pytest.MonkeyPatch], None]


def no_epoch_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(machine.Machine, "_of_this_session", lambda _self, _event: True)


def counted_from_receipt(patch: pytest.MonkeyPatch) -> None:
    def confirm(self: LeaseClock, sent_at: float, now: float) -> bool:
        del sent_at
        self.confirmed_at = now
        return True

    patch.setattr(LeaseClock, "confirm", confirm)


def starts_without_a_fresh_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LeaseClock, "fresh", lambda _self, _now: True)


def recall_answered_without_dropping(patch: pytest.MonkeyPatch) -> None:
    def recalled(state: State, event: events.Recalled) -> None:
        unstarted = [
            token
            for token in event.tokens
            if token in state.leases and state.leases[token].phase is core_values.Phase.UNSTARTED
        ]
        state.out.append(instructions.SendRecallAnswer(event.epoch, event.recall_id, unstarted, []))

    patch.setitem(machine._MESSAGES, events.Recalled, recalled)


def hidden(phase: core_values.Phase) -> Patch:
    def patched(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(
            State, "held", lambda self: [lease.held() for lease in self.leases.values() if lease.phase is not phase]
        )

    return patched


def no_device_guard(patch: pytest.MonkeyPatch) -> None:
    def start_next(state: State, device: Any) -> None:
        if device.queue and state.may_start:
            lease = device.queue.popleft()
            attempts._begin(state, device, lease)
            state.out.append(instructions.Start(device.facts.device_id, [lease.assignment]))

    patch.setattr(attempts, "start_next", start_next)
    patch.setattr(commands, "start_next", start_next)


def welcome_takes_nothing_away(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sessions, "lose", lambda _state, _token: None)


def the_disk_is_never_full(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Disk, "problem", None)


def sent_without_the_spool(patch: pytest.MonkeyPatch) -> None:
    def persist(state: State) -> None:
        state.outbox.take_to_persist()

    patch.setattr(reporting, "persist", persist)
    patch.setattr(sessions, "persist", persist)


def connected(tokens: int) -> World:
    """A world whose agent holds so many attempts on one device; the first of them runs."""
    world = World()
    world.begin()
    world.connect()
    world.everything_is_delivered()
    world.assign(device="d1", count=tokens)
    world.everything_is_delivered()
    return world


def an_assignment_of_the_old_session_comes_late() -> World:
    world = connected(0)
    world.assign(device="d1", count=1)
    world.stream_breaks()
    world.connect()
    world.everything_is_delivered()
    for late in world.late:
        world.tell(late)
    return world


def the_welcome_comes_too_late() -> World:
    world = World()
    world.begin()
    world.connect()
    world.coordinator_takes_one()
    world.assign(device="d1", count=1)
    world.time_passes(seconds=49.0)
    world.everything_is_delivered()
    return world


def the_lease_ends_and_frees_the_device() -> World:
    world = connected(2)
    world.stream_breaks()
    world.time_passes(seconds=49.0)
    return world


def an_attempt_is_recalled_and_its_turn_comes() -> World:
    world = connected(2)
    assert world.stream is not None
    world.stream.down.append(events.Recalled(world.stream.epoch, 1, ["t2"]))
    world.everything_is_delivered()
    world.end_tree("t1", PASSED)
    return world


def a_waiting_attempts_turn_comes_after_a_reconnect() -> World:
    world = connected(2)
    world.stream_breaks()
    world.connect()
    world.everything_is_delivered()
    world.end_tree("t1", PASSED)
    return world


def a_result_waits_for_a_reconnect() -> World:
    world = connected(1)
    world.stream_breaks()
    world.end_tree("t1", PASSED)
    world.flush()
    world.connect()
    world.everything_is_delivered()
    return world


def two_attempts_come_for_one_device() -> World:
    world = connected(1)
    world.assign(device="d1", count=1)
    world.everything_is_delivered()
    return world


def the_agent_is_away_for_longer_than_its_lease() -> World:
    world = connected(2)
    world.the_coordinator_is_away_for_a_while(seconds=63.0)
    return world


def an_attempt_ends() -> World:
    world = connected(1)
    world.end_tree("t1", PASSED)
    world.everything_is_delivered()
    return world


def an_assignment_comes_while_the_disk_is_full() -> World:
    world = connected(0)
    world.the_disk_is_measured(free=1)
    world.assign(device="d1", count=1)
    world.everything_is_delivered()
    return world


def an_assignment_comes_while_the_disk_refuses() -> World:
    world = connected(1)
    world.the_disk_changes_its_mind(refuses=True)
    world.end_tree("t1", PASSED)
    world.everything_is_delivered()
    world.assign(device="d2", count=1)
    world.everything_is_delivered()
    return world


PASSED = Finished(Outcome.PASSED, 1, 2, 1)
CASES: list[tuple[Patch, Callable[[], World], str]] = [
    (no_epoch_check, an_assignment_of_the_old_session_comes_late, "FENCE"),
    (counted_from_receipt, the_welcome_comes_too_late, "TIME"),
    (starts_without_a_fresh_lease, the_lease_ends_and_frees_the_device, "TIME"),
    (recall_answered_without_dropping, an_attempt_is_recalled_and_its_turn_comes, "RECALL"),
    (hidden(core_values.Phase.UNSTARTED), a_waiting_attempts_turn_comes_after_a_reconnect, "FENCE"),
    (hidden(core_values.Phase.SPOOLED), a_result_waits_for_a_reconnect, "RESULT"),
    (no_device_guard, two_attempts_come_for_one_device, "P4"),
    (welcome_takes_nothing_away, the_agent_is_away_for_longer_than_its_lease, "FENCE"),
    (sent_without_the_spool, an_attempt_ends, "SPOOL"),
    (the_disk_is_never_full, an_assignment_comes_while_the_disk_is_full, "DISK"),
    (the_disk_is_never_full, an_assignment_comes_while_the_disk_refuses, "DISK"),
]


def play(scenario: Callable[[], World]) -> None:
    world = scenario()
    world.one_tree_on_a_device()
    world.a_living_tree_has_its_lease()
    world.teardown()


@pytest.mark.parametrize(("remove", "scenario", "broken"), CASES, ids=[scenario.__name__ for _, scenario, _ in CASES])
def test_a_removed_rule_breaks_its_promise(
    monkeypatch: pytest.MonkeyPatch, remove: Patch, scenario: Callable[[], World], broken: str
) -> None:
    play(scenario)  # with the rule, all is well
    remove(monkeypatch)
    with pytest.raises(AssertionError, match=broken):
        play(scenario)
