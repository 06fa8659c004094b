"""Each rule of the agent's protocol is removed in turn, and the world of test_core_machine has to notice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from qgjob_agent.core import attempts, commands, events, instructions, machine, reporting, sessions
from qgjob_agent.core import values as core_values
from qgjob_agent.core.lease_clock import LeaseClock
from qgjob_agent.core.state import State
from tests.unit.agent.test_core_machine import World

# No shrinking: that it fails is all there is to know. Fixed seeds: a mutant is found every time or never.
SEARCH = settings(
    max_examples=400,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
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


def sent_without_the_spool(patch: pytest.MonkeyPatch) -> None:
    def persist(state: State) -> None:
        state.outbox.take_to_persist()

    patch.setattr(reporting, "persist", persist)
    patch.setattr(sessions, "persist", persist)


@pytest.mark.parametrize(
    "remove",
    [
        no_epoch_check,
        counted_from_receipt,
        starts_without_a_fresh_lease,
        recall_answered_without_dropping,
        hidden(core_values.Phase.UNSTARTED),
        hidden(core_values.Phase.SPOOLED),
        no_device_guard,
        welcome_takes_nothing_away,
        sent_without_the_spool,
    ],
    ids=lambda remove: remove.__qualname__,
)
def test_a_removed_rule_is_noticed(monkeypatch: pytest.MonkeyPatch, remove: Patch) -> None:
    remove(monkeypatch)
    with pytest.raises(Exception):  # noqa: B017, PT011 - which of the properties breaks first is chance
        run_state_machine_as_test(World, settings=SEARCH)
