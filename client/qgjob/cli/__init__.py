"""The `qgjob` command."""

import sys


def main() -> int:
    """Run the command with the arguments of this process; returns its exit code."""
    from qgjob.cli.app import run  # noqa: PLC0415 - the package itself must stay cheap to import

    return run(sys.argv[1:])
