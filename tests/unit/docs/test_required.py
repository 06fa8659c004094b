"""What vouches for a change fails where a test is left out that could have run: `pytest --require`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.appwright_packages import lacking
from tests.required import MAY_LACK

ROOT = Path(__file__).parents[3]
TESTS = """
import pytest

def test_runs(): pass
@pytest.mark.skipif(True, reason="needs a program: apt install program")
def test_marked(): pass
@pytest.mark.parametrize("reason", ["needs another program", "{may_lack}: and so on"])
def test_says_so_itself(reason): pytest.skip(reason)
@pytest.fixture
def disk(): pytest.skip("{may_lack}")
def test_with_a_fixture(disk): pass
@pytest.mark.xfail(reason="is known to fail")
def test_is_known_to_fail(): assert False
"""


@pytest.mark.parametrize("option", ["--require", ""])
def test_what_may_not_be_left_out_fails_and_all_is_printed(tmp_path: Path, option: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS.replace("{may_lack}", MAY_LACK[0]))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    words = ["-p", "tests.required", "-p", "no:cacheprovider", "-ra", *([option] if option else [])]
    command = [sys.executable, "-m", "pytest", *words, str(tmp_path)]
    environment = {"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    said = done.stdout
    counted = {what: int(number) for number, what in re.findall(r"(\d+) (\w+)", said.splitlines()[-1])}
    assert (counted["passed"], counted["xfailed"]) == (1, 1), said
    if option:
        assert (done.returncode, counted["skipped"]) == (1, 2), said
        assert "test_marked was left out, and may not be with --require: needs a program: apt install program" in said
        assert "was left out, and may not be with --require: needs another program" in said
    else:
        assert (done.returncode, counted["skipped"]) == (0, 4), said
        assert "needs another program" in said
    assert f"{MAY_LACK[0]}: and so on" in said


@pytest.mark.parametrize("reason", MAY_LACK)
def test_each_reason_is_one_that_a_test_gives(reason: str) -> None:
    files = [*(ROOT / "tests" / "integration").rglob("*.py"), *(ROOT / "tests" / "unit").rglob("*.py")]
    files += (ROOT / "tests" / "fakes").rglob("*.py")
    assert any(reason in file.read_text("utf-8") for file in files)


def test_what_every_change_has_to_pass_asks_for_it() -> None:
    assert "make test ARGS=--require\n" in (ROOT / ".ci" / "run").read_text("utf-8")


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ({}, "needs the program node: apt-get install nodejs npm"),
        ({"node": "v20.1.0"}, "needs the program npm: apt-get install nodejs npm"),
        ({"node": "v18.20.3", "npm": ""}, "needs a newer node than v18.20.3: install 18.20.4 or newer"),
        ({"node": "v18.20.4", "npm": ""}, None),
    ],
)
def test_what_appwright_needs_of_a_machine_is_named(
    programs: dict[str, str], reason: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, version in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert lacking.__wrapped__() == reason
