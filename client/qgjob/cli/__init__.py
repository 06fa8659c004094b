"""The `qgjob` command."""

import os
import sys

BEFORE = "interrupted before the command began; nothing was done"
_INTERRUPTED = 130  # `exit_codes`, which needs more than may be imported by then


def main() -> int:
    """Run the command with the arguments of this process; returns its exit code."""
    # gRPC's C core writes lines of its own to stderr. It looks here when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - gRPC reads it there by itself
    try:
        from qgjob.cli.app import run  # noqa: PLC0415 - the package itself must stay cheap to import

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        print(BEFORE, file=sys.stderr)
        return _INTERRUPTED
