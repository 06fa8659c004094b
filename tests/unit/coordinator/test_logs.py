"""What stands in the log, in which form."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


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


@pytest.mark.parametrize("as_json", [True, False])
def test_an_error_shows_no_values_of_what_met_it(as_json: bool) -> None:
    """Variables of a job are in these, and whatever else is secret. To draw them, it took a second on a busy host."""
    script = (
        f"from qgjob_coordinator import logs; logs.configure('info', json={as_json})\n"
        "import structlog\n"
        "def submit(request):\n    return request['missing']\n"
        "try:\n    submit({'TOKEN': 'hunter' + '2'})\n"
        "except KeyError as e:\n    structlog.get_logger().error('call_failed', exc_info=e)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stderr
    assert "KeyError" in said
    assert "submit" in said
    assert "hunter2" not in said
