"""What supervisors that were killed with their hosts' agents left in the cgroup tree goes with the next start."""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from qgjob_agent.executions import names
from qgjob_agent.executions.cgroup_sweep import YOUNG_SECONDS, sweep
from qgjob_agent.host.process_tree import Cgroup


@pytest.fixture
def made() -> Iterator[Cgroup]:
    """An empty cgroup as a supervisor makes it."""
    found = Cgroup.make(names.cgroup_name(uuid.uuid4().hex))
    if found is None:
        pytest.skip("this host lets us make no cgroup")
    yield found
    found.kill()
    found.remove()


def age(group: Cgroup, seconds: float) -> None:
    """Has it been made so long ago."""
    at = time.time() - seconds
    os.utime(group.path, (at, at))


def test_an_old_empty_one_goes_and_one_of_a_moment_ago_is_left_to_its_supervisor(made: Cgroup) -> None:
    age(made, YOUNG_SECONDS / 2)
    sweep()
    assert Path(made.path).is_dir()
    age(made, YOUNG_SECONDS + 1)
    assert sweep() > 0
    assert not Path(made.path).exists()


def test_one_with_a_process_in_it_stays(made: Cgroup) -> None:
    with subprocess.Popen(["/bin/sleep", "60"], preexec_fn=made.join) as sleeper:  # noqa: PLW1509
        age(made, YOUNG_SECONDS + 1)
        sweep()
        assert made.members() == [sleeper.pid]
        sleeper.kill()
