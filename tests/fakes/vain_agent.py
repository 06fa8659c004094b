"""The agent, to which it is of no use to wake a supervisor: as where a test stops it again before it could do anything.

A test can't be made to win that race each time, above all not on a machine with much else to do. It looks five times
as often as the agent does. Run as a program; settings come from the environment, as the agent's do.
"""

from __future__ import annotations

import sys

from qgjob_agent.__main__ import main as agent
from qgjob_agent.executions import stopped_supervisor
from qgjob_agent.executions.folder import ExecutionFolder


def main() -> int:
    ExecutionFolder.wake_supervisor = lambda self: None  # type: ignore[method-assign]
    stopped_supervisor.LOOK_SECONDS /= 5
    return agent([])


if __name__ == "__main__":
    sys.exit(main())
