"""The stand-in of Appium answers, logs and ends as the real one was recorded to."""

from __future__ import annotations

import sys
from pathlib import Path

from qgjob_agent.runners.appwright.appium_reason import reason_in
from tests.fakes.appium.contract import environment, played
from tests.fakes.appium.record import recording
from tests.fakes.appium.server import VERSION

ROOT = Path(__file__).parents[3]


async def test_it_does_as_recorded(tmp_path: Path) -> None:
    recorded = recording()
    words = [sys.executable, "-m", "tests.fakes.appium", "--log"]
    told = await played(words, environment(PYTHONPATH=str(ROOT)), tmp_path)
    assert told["answers"] == recorded["answers"]
    assert told == {name: value for name, value in recorded.items() if name not in ("version", "driver")}
    assert recorded["version"] == VERSION


def test_why_it_did_not_come_up_is_read_from_what_it_printed() -> None:
    for name, why in (("port_taken", "Error: listen EADDRINUSE"), ("unknown_argument", "Unrecognized arguments")):
        code, lines = recording()[name]
        assert code != 0
        assert why in reason_in("\n".join(lines))
