"""A coordinator that cuts a reader who takes nothing for SECONDS: `python impatient_coordinator.py SECONDS`.

The product waits a minute, which is no setting.
"""

from __future__ import annotations

import sys

from qgjob_coordinator import __main__ as program
from qgjob_coordinator.rpc import interceptor


def main() -> int:
    interceptor.WRITE_SECONDS = float(sys.argv[1])
    return program.main([])


if __name__ == "__main__":
    sys.exit(main())
