"""docs/android.md names every refusal of a package manager, with whom it is put down to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qgjob_agent.devices.adb.failures import FAILURES
from qgjob_agent.devices.refusals import Blame

PAGE = (Path(__file__).parents[3] / "docs" / "android.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("\n## What a refusal means\n")[2]
ROWS = dict(re.findall(r"^\| ([a-z ]+) \| .+? \| (.+) \|$", TABLE, re.MULTILINE))


@pytest.mark.parametrize("blame", Blame)
def test_each_refusal_stands_where_it_belongs(blame: Blame) -> None:
    named = set(re.findall(r"`([A-Z_…]+)`", ROWS[blame.value.replace("_", " ")]))
    known = {name for name, failure in FAILURES.items() if failure.blame is blame}
    assert {name.replace("…", "INSTALL_FAILED_") for name in named} == known
