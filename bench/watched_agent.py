"""The agent, with a runner that tells when it starts an attempt: `python -m bench.watched_agent --config FILE`.

Each start is a datagram `<job_id> <monotonic ns>` to the Unix socket named by BENCH_STARTS. The agent's own record of a
start has milliseconds, which is too coarse for what is measured here.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from qgjob_agent import parts
from qgjob_agent.__main__ import main
from qgjob_agent.core.values import Assignment, DeviceFacts
from qgjob_agent.runners.simulated import SimulatedRunner

STARTS_VARIABLE = "BENCH_STARTS"


class WatchedRunner(SimulatedRunner):
    """Tells of each start, then does as the simulated runner."""

    _listener = os.environ.get(STARTS_VARIABLE, "")
    _socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def start(self, device: DeviceFacts, assignments: list[Assignment]) -> None:
        now = time.monotonic_ns()
        for assignment in assignments:
            self._socket.sendto(f"{assignment.job_id} {now}".encode(), self._listener)
        super().start(device, assignments)


if __name__ == "__main__":
    parts.SimulatedRunner = WatchedRunner  # type: ignore[attr-defined]
    sys.exit(main())
