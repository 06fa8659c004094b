"""docs/apple.md names what Xcode's programs say of a refused installation, with whom it is put down to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qgjob_agent.devices.apple.failures import FAILURES
from qgjob_agent.devices.refusals import Blame

PAGE = (Path(__file__).parents[3] / "docs" / "apple.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("\n## What a refusal means\n")[2]
ROWS = dict(re.findall(r"^\| ([a-z ]+) \| .+? \| (.+) \|$", TABLE, re.MULTILINE))


@pytest.mark.parametrize("blame", Blame)
def test_each_refusal_stands_where_it_belongs(blame: Blame) -> None:
    known = {text for text, failure in FAILURES.items() if failure.blame is blame}
    assert set(re.findall(r"`([^`]+)`", ROWS[blame.value.replace("_", " ")])) == known
