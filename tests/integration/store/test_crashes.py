"""A machine of coordinators that die, stand still and come late: after each step the store is as the model says.

The other machine (test_machine.py) calls single operations, careless of order. Here the coordinators' own code calls
them, and the machine decides when each call happens, and whether its answer comes. So more can be asked than that model
and store agree:

- FENCE: while a tree lives, its token is the lease of its job; WRITTEN: not any more when its end is acknowledged;
- VERDICT: a round's verdict never changes; ACKNOWLEDGED: what a caller was told is there;
- ANNOUNCED: an org with unfinished jobs is on the active set, unless somebody died, or could not reach the store, who
  was about to put it there, and nobody looked for what such ones leave since;
- LIFE: no session is served that was opened in two lives of the store; REACHED: one that goes on is found by claims;
  ENDED: none ends for an attempt that its agent shows, a newer session that is none, or a fault in a round of reports;
- BOOKED: a session that goes on knows every lease that it has, whatever became of the claim;
- SETTLED: when all goes on and nothing is on its way, an agent holds what the store says, and its reports are answered;
- ENDING: when all is over, one coordinator that goes on finds every lease and every org with work.

A store that goes back loses what happened since. What it has forgotten of, a grant or an end, is excused from FENCE and
WRITTEN; what is older stands, verdicts too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import settings

from tests.fakes.jobs import NOW
from tests.fakes.store_process import StoreProcess
from tests.integration.store.crash_rules import CrashRules
from tests.integration.store.crash_rules_of_agents import CrashRulesOfAgents
from tests.integration.store.lab_clocks import Clocks
from tests.integration.store.steps import LEAST, NIGHTLY, examples


class CrashMachine(CrashRules, CrashRulesOfAgents):
    """See the module."""


@pytest.fixture(scope="module")
def crashes_need(store_process: StoreProcess, request: pytest.FixtureRequest) -> Iterator[None]:
    """What all examples share."""
    clocks = CrashMachine.clocks = Clocks(NOW)
    with (
        asyncio.Runner(loop_factory=clocks.loop) as runner,
        store_process.client() as raw,
        pytest.MonkeyPatch.context() as patch,
        CrashMachine.steps.at_least(LEAST, request),
    ):
        clocks.install(patch)
        CrashMachine.process, CrashMachine.runner, CrashMachine.raw = store_process, runner, raw
        yield


class TestCrashMachine(CrashMachine.TestCase):
    """The machine as pytest runs it."""

    pytestmark: ClassVar = [pytest.mark.usefixtures("crashes_need"), pytest.mark.timeout(0 if NIGHTLY else 600)]
    settings = settings(
        max_examples=examples(12, 150, 1600),
        stateful_step_count=100,
        report_multiple_bugs=False,
    )
