"""How each life of the machine of crashes ends: everything comes to rest, then everybody dies but one coordinator."""

from __future__ import annotations

from tests.integration.store import promises
from tests.integration.store.crash_lab import CrashLab

GIVE_UP_SECONDS = 63.0
LOOKS = 10
"""Reapers look far more often than they give up."""


class CrashEnds(CrashLab):
    """See the module."""

    def teardown(self) -> None:
        try:
            if self.sound:
                self.it_settles()
                self.it_ends()
                self.both.check_all()
        finally:
            for c in self.coordinators.values():
                self.runner.run(c.die())
            self.both.close()
            self.clocks.monotonic += 1000.0  # what still waits for its time has its end in the next life

    def it_settles(self) -> None:
        """Nobody dies, whoever does something does it to the end, and agents that are not connected connect."""
        for c in self.coordinators.values():
            self.to_the_end(c, c.check(self.life))
        for _ in range(4):
            self._round()
            self.time_passes(1.0)
        if promises.came_late(self.both, self.seen):
            for _ in range(5):  # books are compared twice
                self.time_passes(16.0)
                self._round()
        for agent_id in self.agents:
            self.deliver(agent_id)
        promises.check_settled(self.both, self.agents.values())

    def _round(self) -> None:
        for agent_id in self.agents:
            self.deliver(agent_id)
            if self.live(agent_id) is None:
                self.connect(agent_id, "c-1")
            self.beat(agent_id)
        for c in self.coordinators.values():
            self.run(c.finish())

    def it_ends(self) -> None:
        """Everybody dies; the agents connect once more and are lost; one coordinator looks for as long as it takes."""
        for c in self.coordinators.values():
            self.run(c.die())
        last = self.born("c-1")
        for agent in self.agents.values():
            for _ in range(2):  # the first may be told of a higher epoch
                if agent.session is None or agent.session.refused is not None:
                    self.to_the_end(last, last.connect(agent, self.hello(agent)))
            agent.host_dies()
        self.to_the_end(last, last.repair())
        for _ in range(3):
            self.to_the_end(last, last.reap())
            for _ in range(LOOKS):
                self.clocks.monotonic += GIVE_UP_SECONDS / LOOKS
                self.to_the_end(last, last.reap())
        self.to_the_end(last, last.repair())
        promises.check_ended(self.both, self.acknowledged)
