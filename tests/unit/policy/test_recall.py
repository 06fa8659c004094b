"""What a device holds ahead is given back only when it is late and something better waits."""

from __future__ import annotations

from typing import Any

import pytest

from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.planning.recall import LATE_SECONDS, recalls
from qgjob_coordinator.policy.proposals import Recall
from qgjob_coordinator.policy.snapshot import DeviceView
from tests.unit.policy.snapshots import NOW, device, group, queue, score, snapshot

V1 = ("acme", "v1")
LATE = NOW - round(LATE_SECONDS * 1000)


def behind(**changes: Any) -> DeviceView:
    """A device whose attempt takes longer than expected, with another one behind it."""
    values: dict[str, Any] = {"installed": V1, "held": 2, "holds_for": ("acme", "e-v1")}
    return device("d1", **values | {"unstarted": 1, "next_at": LATE, "next_score": score(1)} | changes)


def recalled(held: DeviceView, *others: DeviceView, waiting: Priority | None = None) -> bool:
    jobs = [queue("a", [999], waiting)] if waiting else []
    s = snapshot(others, [group("v1", *jobs, serving={"d1": 2}, unfinished=3)], busy=(held,))
    assert recalls(s) in ((), (Recall("d1", "agent-1"),))
    return bool(recalls(s))


def test_another_device_with_the_build_that_idles_takes_it_over() -> None:
    assert recalled(behind(), device("d2", installed=V1))


@pytest.mark.parametrize(
    "other",
    [
        device("d2"),
        device("d2", installed=("acme", "v2")),
        device("d2", installed=("globex", "v1")),
        device("d2", installed=V1, held=1, holds_for=("acme", "e-v1")),
    ],
    ids=["cold", "of another version", "of another org", "busy"],
)
def test_a_device_that_would_install_or_is_busy_itself_is_nothing_better(other: DeviceView) -> None:
    assert not recalled(behind(), other)


def test_a_more_urgent_job_of_the_group_goes_before_it() -> None:
    assert recalled(behind(), waiting=Priority.HIGH)
    assert not recalled(behind(), waiting=Priority.MEDIUM)
    assert not recalled(behind(next_score=score(1, Priority.HIGH)), waiting=Priority.HIGH)


def test_what_is_not_late_or_has_begun_stays() -> None:
    idle = device("d2", installed=V1)
    assert not recalled(behind(next_at=LATE + 1), idle)
    assert not recalled(behind(unstarted=0, held=1), idle)


IOS = Requirements(platform="ios")


def recalled_for(
    *idle: DeviceView, requirements: Requirements, avoid: tuple[str, ...] = (), known: bool = True
) -> bool:
    """Whether d1 gives back a job that asks for this."""
    held = behind(platform="ios", next_asks=(requirements, avoid) if known else None)
    return recalled(held, *idle)


def test_a_device_that_may_not_serve_what_is_held_is_nothing_better() -> None:
    """It would come back at once, and be given back again."""
    idle = device("d2", installed=V1, platform="android")
    assert recalled_for(idle, requirements=ANY_DEVICE)
    assert not recalled_for(idle, requirements=IOS)
    assert recalled_for(idle, device("d3", installed=V1, platform="ios"), requirements=IOS)
    assert not recalled_for(idle, requirements=Requirements(device_id="d1"))


def test_nor_is_one_that_the_job_avoids() -> None:
    idle = device("d2", installed=V1)
    assert not recalled_for(idle, requirements=ANY_DEVICE, avoid=("d2",))
    assert recalled_for(idle, requirements=ANY_DEVICE, avoid=("d3",))


def test_a_job_of_which_nothing_is_known_is_taken_for_one_that_any_device_may_serve() -> None:
    assert recalled_for(device("d2", installed=V1), requirements=IOS, known=False)
