"""`python -m qgjob_agent [--config FILE] [--check]`."""

import gc
import os
import sys

# What importing makes stays: to look at it again and again takes a tenth of a start (measured).
gc.disable()
# gRPC's C core writes lines of its own to stderr, between those of the log. It looks here when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - gRPC reads it there by itself

from qgjob_agent.app import main  # noqa: E402 - after those

if __name__ == "__main__":
    sys.exit(main())
