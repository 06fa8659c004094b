"""A kernel that does not end some processes, as those that wait for a disk: what is sent to them has no effect.

It has no cgroups, which end what is in them at once.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

BOOT = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from qgjob_agent.executions import kill_pace, supervisor
from qgjob_agent.host import process_tree
process_tree.Cgroup.make = lambda name: None
for name, value in {scaled!r}.items():
    setattr(kill_pace, name, value)
{kernel}
os.kill = kernel({immune!r}, os.kill)
def scheduled(pid, policy, param, really=os.sched_setscheduler):
    really(pid, policy, param)
    with open({immune!r} + ".policies", "a") as file:
        print(policy & ~os.SCHED_RESET_ON_FORK, file=file)
os.sched_setscheduler = scheduled
def sleep(seconds, really=time.sleep):
    with open({immune!r} + ".pauses", "a") as file:
        print(seconds, file=file)
    really(seconds)
time.sleep = sleep
supervisor.main(sys.argv[2:])
"""
KERNEL = """
def kernel(immune, really):
    import os, time
    def kill(pid, number):
        try:
            with open(immune) as file:
                spared = pid in map(int, file.read().split())
        except FileNotFoundError:
            spared = False
        if not spared:
            return really(pid, number)
        if number == 9:
            with open(immune + ".tries", "a") as file:
                print(time.monotonic(), file=file)
    return kill
"""
SCALED = {"HOT_SECONDS": 0.2, "STUCK_SECONDS": 0.4, "PAUSE_SHARE": 0.5}
"""The pace of a hunt, for tests."""


class Immune:
    """The processes whose ids are in the file `immune`, as long as it is there."""

    def __init__(self, immune: Path) -> None:
        self.path = immune

    @property
    def boot(self) -> str:
        """What a supervisor is begun with that runs on such a kernel; in place of execution._BOOT."""
        return BOOT.format(scaled=SCALED, kernel=KERNEL, immune=str(self.path))

    def kill(self) -> Any:
        """In place of os.kill of this process."""
        names: dict[str, Any] = {}
        exec(KERNEL, names)  # noqa: S102 - the same text as in a supervisor
        return names["kernel"](str(self.path), os.kill)

    def tries(self) -> list[float]:
        """When one of them was to be killed: seconds of the monotonic clock."""
        with suppress(FileNotFoundError):
            return [float(line) for line in self.path.with_name(f"{self.path.name}.tries").read_text().split()]
        return []

    def pause(self) -> float:
        """How long the supervisor has paused last between two looks, in seconds."""
        with suppress(FileNotFoundError):
            return float(self.path.with_name(f"{self.path.name}.pauses").read_text().split()[-1])
        return 0.0

    def in_front(self) -> bool:
        """Whether the supervisor has put itself before all ordinary processes, and not gone back since."""
        with suppress(FileNotFoundError):
            policies = self.path.with_name(f"{self.path.name}.policies").read_text().split()
            return int(policies[-1]) in (os.SCHED_RR, os.SCHED_FIFO)
        return False

    def rate(self) -> float:
        """So many tries a second, of late."""
        now = time.monotonic()
        return sum(now - 0.5 <= at for at in self.tries()) / 0.5

    def end(self) -> None:
        """They can be killed as all others from now on."""
        self.path.unlink(missing_ok=True)
