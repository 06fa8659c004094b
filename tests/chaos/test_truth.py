"""A device that is broken starts no test, and what others and itself ran stays."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from qgjob_agent.runners.command_template import check_template, fill_template
from tests.chaos.truth import Truth

BROKEN, WHOLE = "cmd-1-1", "cmd-1-2"


def test_on_a_broken_device_no_test_can_be_started_until_it_is_mended(tmp_path: Path) -> None:
    truth = Truth(tmp_path / "truth", (BROKEN, WHOLE))

    def start(device_id: str, execution: int) -> None:
        template = shlex.split(truth.argv)
        check_template(template)
        values = {"device_id": device_id, "job_id": "acme~01", "attempt": "1", "org_id": "acme", "execution": execution}
        words = {f"QGJOB_{name.upper()}": str(value) for name, value in values.items()}
        argv = fill_template(template, {"device_id": device_id})
        environ = {"PATH": "/usr/bin:/bin", "SECONDS_LONG": "0", "KEY": "k", "DOES": "pass"} | words
        subprocess.run(argv, env=environ, check=True)

    start(BROKEN, 1)
    truth.break_device(BROKEN)
    truth.break_device(BROKEN)
    with pytest.raises(FileNotFoundError):
        start(BROKEN, 2)
    start(WHOLE, 3)
    truth.mend(BROKEN)
    truth.mend(BROKEN)
    start(BROKEN, 4)
    assert [(run.execution, run.device_id, run.code) for run in truth.runs()] == [
        ("1", BROKEN, 0),
        ("3", WHOLE, 0),
        ("4", BROKEN, 0),
    ]
