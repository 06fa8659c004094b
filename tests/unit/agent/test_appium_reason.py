"""Why an Appium did not come up: what the real one (2.19) printed in each case."""

from __future__ import annotations

import pytest

from qgjob_agent.runners.appwright.appium_reason import reason_in

BUSY = """\x1b[38;5;112m[Appium]\x1b[0m AndroidUiautomator2Driver has been successfully loaded in 0.180s
\x1b[38;5;112m[Appium]\x1b[0m Error: listen EADDRINUSE: address already in use 127.0.0.1:55097
    at Server.setupListenHandle [as _listen2] (node:net:1908:16)
    at processTicksAndRejections (node:internal/process/task_queues:83:21)
"""
NO_DRIVER = """\x1b[38;5;112m[Appium]\x1b[0m The autodetected Appium home path: /srv/tests
Fatal Error: Could not load the driver 'nosuch' because it is not installed.
    at main (/srv/tests/node_modules/appium/lib/main.js:386:47)
"""
NO_LEVEL = """                     [--show-config] [--config CONFIGFILE]

appium server: error: argument --log-level:\x20

ENUM must be equal to one of the allowed values
(info, info:debug, info:error, error:error)

> 1 | "silly"
    | ^^^^^^^ Unexpected value, should be equal to one of the allowed values
"""


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (BUSY, "[Appium] Error: listen EADDRINUSE: address already in use 127.0.0.1:55097"),
        (NO_DRIVER, "Fatal Error: Could not load the driver 'nosuch' because it is not installed."),
        (NO_LEVEL, "appium server: error: argument --log-level:"),
        ("\n[ERROR] Unrecognized arguments: --bogus\n", "[ERROR] Unrecognized arguments: --bogus"),
        ("no driver\n    at main (main.js:1:1)\n", "no driver"),
        ("\n \n", "it said nothing"),
        ("", "it said nothing"),
        ("x" * 1000, "x" * 300),
    ],
)
def test_it_is_the_line_that_names_the_error_and_not_the_stack_below_it(log: str, reason: str) -> None:
    assert reason_in(log) == reason
