"""One seed is one schedule and one workload, and both have what they are to have."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.processes import ROOT
from tests.chaos.breakages import BREAKAGES, broken
from tests.chaos.faults.registry import INJECT
from tests.chaos.history import SUBMISSIONS
from tests.chaos.lab import BREAKABLE, FLEET
from tests.chaos.scale import Scale
from tests.chaos.schedule import (
    OF_STORE,
    SILENT,
    WATCHED_EACH,
    WATCHERS,
    Fault,
    Form,
    Kind,
    lanes,
    lengths,
    schedule,
    watched_seconds,
)
from tests.chaos.workload import DEVICES, Does, Verb, workload

SCALE = Scale()
COORDINATORS = ("coordinator-0", "coordinator-1", "coordinator-2")
AGENTS = ("sim-1", "sim-2", "cmd-1", "cmd-2")
LANES = lanes(COORDINATORS, AGENTS, BREAKABLE, "cmd-2", [], SCALE)
SEEDS = st.integers(0, 10**6)
FORMS = {form: set(kinds) for form, kinds in OF_STORE.items()}
KINDS = set(Kind) - FORMS[Form.SENTINEL] - FORMS[Form.CLUSTER]
"""Of a lab with one server."""
OF_LINKS = {Kind.STORE_LINK_EATS, Kind.STORE_LINK_BOTH, Kind.STORE_LINK_TWICE}


def made(seed: int, seconds: float = 120.0) -> list[Fault]:
    return schedule(seed, seconds, LANES, SCALE)


@given(SEEDS)
def test_one_seed_is_one_schedule(seed: int) -> None:
    assert made(seed) == made(seed)
    assert made(seed) != made(seed + 1)


@given(SEEDS)
def test_in_a_lane_one_fault_ends_before_the_next_begins(seed: int) -> None:
    faults = made(seed)
    assert [f.number for f in faults] == list(range(1, len(faults) + 1))
    assert [f.at for f in faults] == sorted(f.at for f in faults)
    for lane in LANES:
        mine = [f for f in faults if f.lane == lane.name]
        assert all(f.kind in lane.kinds and f.target in lane.targets for f in mine)
        assert all(before.at + before.seconds + lane.rest[0] <= after.at for before, after in pairwise(mine))
    assert all(f.at + f.seconds <= 120.0 for f in faults)
    assert all(lengths(f.kind, SCALE)[0] <= f.seconds <= lengths(f.kind, SCALE)[1] for f in faults)


@given(SEEDS)
def test_a_third_of_the_silent_agents_is_watched_until_it_is_late(seed: int) -> None:
    """No fault of a store or a coordinator begins meanwhile, and those of before are over for S."""
    faults = made(seed, 3600.0)
    silent = [f for f in faults if f.kind in SILENT]
    others = [f for f in faults if f.lane in WATCHERS]
    alone = [
        f
        for f in silent
        if not any(g.at < f.at + watched_seconds(SCALE) and f.at < g.at + g.seconds + SCALE.session for g in others)
    ]
    assert len(alone) >= len(silent) // WATCHED_EACH - 1


@given(SEEDS)
def test_two_minutes_have_thirty_faults_of_most_kinds_and_an_hour_a_thousand_of_all(seed: int) -> None:
    short, long = made(seed), made(seed, 3600.0)
    assert len(short) >= 40
    assert len(long) >= 1200
    assert len({f.kind for f in short}) >= len(KINDS) - 6
    assert {f.kind for f in long} == KINDS


@pytest.mark.parametrize("form", [Form.SENTINEL, Form.CLUSTER])
def test_a_store_of_several_servers_has_kinds_of_its_own(form: Form) -> None:
    places = lanes(COORDINATORS, AGENTS, BREAKABLE, "cmd-2", [], SCALE, form)
    kinds = {f.kind for f in schedule(1, 600.0, places, SCALE)}
    assert kinds == KINDS - FORMS[Form.ONE] - OF_LINKS | FORMS[form]


def of_the_run_of_every_change(seed: int, minutes: float, rests: float, stores: str) -> list[Fault]:
    shares = [(Form(form), float(share)) for form, share in (part.split(":") for part in stores.split(","))]
    seconds = 60.0 * minutes / sum(share for _, share in shares)
    places = [
        (share, lanes(COORDINATORS, AGENTS, BREAKABLE, "cmd-2", [], SCALE, form, rests)) for form, share in shares
    ]
    return [fault for share, each in places for fault in schedule(seed, seconds * share, each, SCALE)]


def test_the_run_of_every_change_has_all_kinds() -> None:
    line = r"--seed (\d+) --minutes ([\d.]+) --rests ([\d.]+) --stores (\S+) --least-faults (\d+)"
    words = re.search(line, (ROOT / "Makefile").read_text())
    assert words is not None
    faults = of_the_run_of_every_change(int(words[1]), float(words[2]), float(words[3]), words[4])
    assert {f.kind for f in faults} == set(Kind)
    assert len(faults) >= int(words[5]) + 20  # some come too late on a busy machine


def test_shorter_rests_make_more_faults_of_a_minute_and_no_two_of_one_place() -> None:
    places = lanes(COORDINATORS, AGENTS, BREAKABLE, "cmd-2", [], SCALE, rests=0.5)
    assert [lane.rest for lane in places] == [(lane.rest[0] / 2, lane.rest[1] / 2) for lane in LANES]
    faults = schedule(1, 600.0, places, SCALE)
    assert len(faults) > 1.3 * len(made(1, 600.0))
    for lane in places:
        mine = [f for f in faults if f.lane == lane.name]
        assert all(before.at + before.seconds + lane.rest[0] <= after.at for before, after in pairwise(mine))


def test_what_a_machine_cannot_have_is_left_out() -> None:
    without = lanes(COORDINATORS, AGENTS, BREAKABLE, "cmd-2", [Kind.SPOOL_FULL, Kind.SLOW_WATCHER], SCALE)
    assert {f.kind for f in schedule(1, 3600.0, without, SCALE)} == KINDS - {Kind.SPOOL_FULL, Kind.SLOW_WATCHER}


@pytest.mark.parametrize("name", BREAKAGES)
def test_every_fence_that_can_be_taken_away_is_there(name: str, tmp_path: Path) -> None:
    breakage = BREAKAGES[name]
    text = (broken(name, tmp_path / "lua") / breakage.script).read_text()
    assert breakage.new in text
    assert breakage.old not in text


def test_every_kind_has_its_function() -> None:
    assert set(INJECT) == set(Kind)


def test_short_outages_are_shorter_than_what_tests_survive() -> None:
    for kind in (Kind.STORE_STOP, Kind.AGENT_PAUSE, Kind.STORE_FULL, Kind.STORE_DISK):
        assert lengths(kind, SCALE)[1] < SCALE.patience
    assert lengths(Kind.STORE_STOP_LONG, SCALE)[0] > SCALE.times.give_up


def test_the_product_as_it_ships_has_the_bounds_of_the_documents() -> None:
    scale = Scale(1.0)
    assert (scale.session, scale.lease, scale.patience) == (15.0, 60.0, 38.0)
    assert scale.times.give_up == pytest.approx(62.0)


@given(SEEDS)
def test_one_seed_is_one_workload_of_about_the_size_that_was_asked_for(seed: int) -> None:
    actions = workload(seed, 200.0, 6.0)
    assert actions == workload(seed, 200.0, 6.0)
    new = set(SUBMISSIONS) - {Verb.REPEAT, Verb.EQUAL}
    numbers = [job.number for a in actions if a.verb in new for job in a.jobs]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == pytest.approx(1200, rel=0.4)
    assert [a.at for a in actions] == sorted(a.at for a in actions)
    assert {a.verb for a in actions} == set(Verb)
    tests = {job.test for a in actions for job in a.jobs}
    assert tests == {None, *Does}
    for action in actions:
        assert action.mean is None or action.mean in numbers[: numbers.index(action.mean) + 1]
        assert all(job.org_id == action.org_id for job in action.jobs)


def test_what_is_held_is_a_device_of_the_lab() -> None:
    assert set(DEVICES) == {f"{plan.agent_id}-{n}" for plan in FLEET for n in range(1, plan.devices + 1)}


@given(SEEDS)
def test_runs_that_supersede_have_a_key_and_bound_ones_a_time(seed: int) -> None:
    for action in workload(seed, 200.0, 6.0):
        assert (action.key is not None) == (action.verb is Verb.SUPERSEDE)
        assert action.run_id is not None or action.verb not in (Verb.SUPERSEDE, Verb.BOND, Verb.RETRY_RUN)
        assert (action.device_id is not None) == (action.verb in (Verb.RESERVE, Verb.MAINTAIN))
        assert (action.seconds > 0) == (action.verb in (Verb.BOND, Verb.RESERVE, Verb.MAINTAIN))
