"""`python -m tests.fakes.qgjob_command …` is `qgjob …`."""

from __future__ import annotations

import sys

from qgjob.cli import main

if __name__ == "__main__":
    sys.argv[0] = "qgjob"
    sys.exit(main())
