"""Constants beside the times are scaled with them: a new one is scaled too, or somebody has said why not."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

from tests.chaos.programs import CONSTANTS, LEAST_SECONDS, scale

PACKAGES = ("qgjob_coordinator.loops", "qgjob_coordinator.service")
TOLD = "it says what a diagnosis tells, which nobody asks for in a run"
ESTIMATED = "it is a part of an estimate, which nothing in a run is judged by"
DAMAGED = "between two tries with damaged data of an org, or what is told of them: no run damages any"
ASKED = "the most that a request may ask for"
EXEMPT = {
    "qgjob_coordinator.loops.bonds.SHORTEST_GAP_SECONDS": "twice the time between two looks, which is a second",
    "qgjob_coordinator.loops.old_artifacts.PAUSE_SECONDS": "nothing in a run is old enough to be dropped",
    "qgjob_coordinator.loops.old_contents.PAUSE_SECONDS": "nothing in a run is old enough to be dropped",
    "qgjob_coordinator.loops.retention.PAUSE_SECONDS": "nothing in a run is old enough to be dropped",
    "qgjob_coordinator.loops.start_check.PAUSE_SECONDS": "it compares estimates with what came: nobody waits",
    "qgjob_coordinator.loops.unbuilt.FLEET_SECONDS": "for jobs whose version has builds, and the lab pushes none",
    "qgjob_coordinator.loops.unbuilt.NEW_LIFE_SECONDS": "for jobs whose version has builds, and the lab pushes none",
    "qgjob_coordinator.loops.hints.REFUSED_SECONDS": "for hints that an ACL refuses, which none of the lab does",
    "qgjob_coordinator.loops.store_news.FIRST_PAUSE_SECONDS": "between two lines of the log",
    "qgjob_coordinator.loops.store_news.LONGEST_PAUSE_SECONDS": "between two lines of the log",
    "qgjob_coordinator.service.agents.attendance.FLAP_SECONDS": TOLD,
    "qgjob_coordinator.service.agents.attendance.REFUSED_SECONDS": TOLD,
    "qgjob_coordinator.service.org_faults.FIRST_TOLD_SECONDS": DAMAGED,
    "qgjob_coordinator.service.org_faults.LONGEST_PAUSE_SECONDS": DAMAGED,
    "qgjob_coordinator.service.org_faults.LONGEST_TOLD_SECONDS": DAMAGED,
    "qgjob_coordinator.service.org_faults.REMEMBERED_SECONDS": DAMAGED,
    "qgjob_coordinator.service.views.diagnosis.FLEET_SECONDS": TOLD,
    "qgjob_coordinator.service.views.kept_builds.ANSWER_SECONDS": TOLD,
    "qgjob_coordinator.service.views.kept_builds.LISTED_SECONDS": TOLD,
    "qgjob_coordinator.service.views.kept_builds.WELL_SECONDS": TOLD,
    "qgjob_coordinator.service.views.diagnosis.PROBE_SECONDS": TOLD,
    "qgjob_coordinator.service.calls.keeping_runs.MAX_AFTER_SECONDS": ASKED,
    "qgjob_coordinator.service.calls.uploads.KNOWN_SECONDS": "of uploads to a cloud, which none of the lab does",
    "qgjob_coordinator.service.calls.uploads.MOST_HELD_SECONDS": ASKED,
    "qgjob_coordinator.service.views.looking_ahead.LOOK_SECONDS": ESTIMATED,
    "qgjob_coordinator.service.views.pending.GIVE_UP_SECONDS": "the default of a setting, which the lab gives",
    "qgjob_coordinator.service.views.pending.SKETCH_SECONDS": ESTIMATED,
    "qgjob_coordinator.service.views.readiness.PROBE_SECONDS": "of the answer to who balances load, which no run has",
    "qgjob_coordinator.service.agents.recalls.ANSWER_SECONDS": "one caller waits; shorter, a busy machine would end it",
    "qgjob_coordinator.service.agents.slots.AHEAD_SECONDS": ESTIMATED,
    "qgjob_coordinator.service.agents.slots.TYPICAL_SECONDS": ESTIMATED,
    "qgjob_coordinator.service.calls.submission.MAX_QUEUE_TIMEOUT_SECONDS": ASKED,
    "qgjob_coordinator.service.calls.submission.MAX_TIMEOUT_SECONDS": ASKED,
}
"""Those that stay as they are, and why. What is no longer than the least that is scaled to stays so by itself."""


def constants() -> dict[str, float]:
    """All that the modules name, also what they took from elsewhere: a name that was imported is a copy."""
    packages = [importlib.import_module(name) for name in PACKAGES]
    names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, f"{p.__name__}.")]
    return {
        f"{name}.{constant}": seconds
        for name in names
        for constant, seconds in vars(importlib.import_module(name)).items()
        if constant.endswith("_SECONDS")
    }


def test_every_constant_beside_the_times_is_scaled_or_exempt_with_a_reason() -> None:
    scaled = {f"{module}.{constant}" for module, named in CONSTANTS.items() for constant in named}
    long = {name for name, seconds in constants().items() if seconds > LEAST_SECONDS}
    assert long - scaled == set(EXEMPT)
    assert not scaled & set(EXEMPT)


@pytest.mark.parametrize("program", ["coordinator", "agent"])
def test_each_is_scaled_once_and_not_below_the_least(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = [(name, c) for name, cs in CONSTANTS.items() if name.startswith(f"qgjob_{program}.") for c in cs]
    before = {(name, c): getattr(importlib.import_module(name), c) for name, c in named}
    for (name, constant), seconds in before.items():
        monkeypatch.setattr(f"{name}.{constant}", seconds)  # as it is again afterwards
    scale(program, 0.2)
    for (name, constant), seconds in before.items():
        expected = pytest.approx(max(0.2 * seconds, LEAST_SECONDS))
        assert getattr(importlib.import_module(name), constant) == expected, constant
