"""Every rule of the catalogue is switched off in turn, and the tests that are to see it do."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.mutation.catalogue import ROOT


@pytest.mark.timeout(600)
def test_every_mutant_is_caught_by_the_tests_that_should() -> None:
    """All at once, in a process of its own: it forks, which one with threads should not."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", "--json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("{"), done.stderr
    report = json.loads(done.stdout)
    assert report["red"] == []
    assert {m["id"]: m["wrong"] for m in report["mutants"] if not m["caught"]} == {}
    assert done.returncode == 0
