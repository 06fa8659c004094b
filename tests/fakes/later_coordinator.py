"""A coordinator of a later version of the agents' stream: `python later_coordinator.py VERSION`.

What else a later version would change is not known; what it may not change is that it takes the version before its own.
"""

from __future__ import annotations

import sys

from qgjob_coordinator import __main__ as program
from qgjob_coordinator.service.agents import hello, messages


def main() -> int:
    messages.PROTOCOL_VERSION = hello.PROTOCOL_VERSION = int(sys.argv[1])
    return program.main([])


if __name__ == "__main__":
    sys.exit(main())
