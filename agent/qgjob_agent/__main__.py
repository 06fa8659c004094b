"""`qgjob agent start`, or `python -m qgjob_agent [--config FILE] [--check]`."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from qgjob_agent.config import load_config, unread_settings
from qgjob_agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob_agent.config import AgentConfig

# What the agent needs and its settings do not: who starts it is told of a package that is missing before it begins.
for _package in ("structlog", "psutil"):
    if find_spec(_package) is None:
        raise ModuleNotFoundError(f"No module named {_package!r}", name=_package)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the agent until it is told to end. Gives the exit code: 2 for a wrong setting, 1 for another failure."""
    options = _options(argv)
    try:
        config = load_config(options.config, on_this_host=options.check)
        if options.check:
            print(f"ok: agent {config.agent_id}, {_devices_in_words(config)}, runner {config.runner}")
            for each in unread_settings():
                print(f"warning: {each.line}", file=sys.stderr)
            return 0
        _run(config)
    except AgentError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    return 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qgjob agent start", description="The daemon on a device host.")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="agent.toml, as examples/agent.toml explains it (default: QGJOB_AGENT_CONFIG)",
    )
    parser.add_argument(
        "--check", action="store_true", help="check the settings, and that what they name is here, and exit"
    )
    return parser.parse_args(argv)


def _devices_in_words(config: AgentConfig) -> str:
    if not config.finds_devices:
        count = len(config.device_facts)
        return "1 device" if count == 1 else f"{count} devices"
    found = []
    if config.browserstack.enabled:
        found.append(f"sessions of the BrowserStack plan at {config.browserstack.api_url}")
    if config.adb.enabled:
        found.append(f"Android devices of the adb server at {config.adb.host}:{config.adb.port}")
    if config.apple.enabled:
        found.append("simulators, iPhones and iPads of this Mac" if config.apple.physical else "simulators of this Mac")
    return " and ".join(found)


def _run(config: AgentConfig) -> None:
    """Raises AgentError."""
    # What importing makes stays: to look at it again and again takes a tenth of a start (measured).
    gc.disable()
    # gRPC's C core writes lines of its own to stderr, between those of the log. It looks here when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # noqa: TID251 - gRPC reads it there by itself
    import asyncio  # noqa: PLC0415 - as the next

    from qgjob_agent import app  # noqa: PLC0415 - takes as long as all that a check needs

    app.begin_logging(config, unread_settings())
    asyncio.run(app.run(config))


if __name__ == "__main__":
    sys.exit(main())
