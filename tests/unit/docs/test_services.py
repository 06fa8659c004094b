"""The systemd units of docs/operations.md: units that systemd takes, and that nothing leaves failed for good."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
UNITS = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
NAMES = ["coordinator", "agent"]


def test_there_is_a_unit_for_each_program() -> None:
    assert [name for name in NAMES for unit in UNITS if f"/qgjob {name}" in unit] == NAMES
    assert len(UNITS) == len(NAMES)


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_a_program_comes_again_for_as_long_as_it_takes_and_with_its_host(unit: str) -> None:
    """With systemd's defaults it is not tried again after five quick ends, or when the host starts."""
    parsed = configparser.ConfigParser(interpolation=None)
    parsed.optionxform = str  # type: ignore[assignment,method-assign]  # the names as they are
    parsed.read_string(unit)
    service = parsed["Service"]
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert float(service["RestartSec"]) >= 1
    assert parsed["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.parametrize("unit", UNITS, ids=NAMES)
def test_systemd_takes_it(tmp_path: Path, unit: str) -> None:
    """It says what it does not know, and goes on without it."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("this machine has no systemd")
    path = tmp_path / "qgjob.service"
    path.write_text(unit.replace("/opt/qgjob/bin/qgjob", "/bin/true"))
    done = subprocess.run([analyze, "verify", "--man=no", path], check=False, capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if str(path) in line or "qgjob.service" in line]
    assert (done.returncode, said) == (0, [])
