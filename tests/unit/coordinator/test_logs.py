"""What stands in the log, in which form."""

from __future__ import annotations

import json
import subprocess
import sys


def test_what_libraries_say_is_json_too() -> None:
    """Whoever collects the log parses each line of it."""
    script = (
        "import logging; from qgjob_coordinator import logs; logs.configure('info', json=True, process=2)\n"
        "logging.getLogger('grpc').error('Aborting method [%s]', '/a/b')\n"
        "try:\n    1 / 0\nexcept ZeroDivisionError:\n    logging.getLogger('asyncio').exception('a fault')\n"
        "logging.getLogger('redis').info('told to nobody')"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    first, second = (json.loads(line) for line in said.splitlines())
    assert (first["event"], first["level"], first["logger"]) == ("Aborting method [/a/b]", "error", "grpc")
    assert first["process"] == 2
    assert second["exception"][0]["exc_type"] == "ZeroDivisionError"
