"""The `qgjob` command."""

import sys

BEFORE = "interrupted before the command began; nothing was done"
_INTERRUPTED = 130  # `exit_codes`, which needs more than may be imported by then


def main() -> int:
    """Run the command with the arguments of this process; returns its exit code."""
    try:
        from qgjob.cli.app import run  # noqa: PLC0415 - the package itself must stay cheap to import

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        print(BEFORE, file=sys.stderr)
        return _INTERRUPTED
