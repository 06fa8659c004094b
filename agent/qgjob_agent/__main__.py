"""`python -m qgjob_agent [--config FILE] [--check]`."""

import sys

from qgjob_agent.app import main

if __name__ == "__main__":
    sys.exit(main())
