"""The npx that AppWright gets says of Appium what a real one was recorded to say, as far as AppWright reads that."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from qgjob_agent.runners.appwright.plan import JS
from tests.fakes.appium.record import recording

NPX = JS / "shims" / "npx"
STARTED, TAKEN = "Appium REST http interface listener started", "Error: listen EADDRINUSE"
"""What AppWright 0.1.1 looks for in the output of `npx appium`."""


def run(*words: str, path: str = "/usr/bin:/bin") -> tuple[int, str]:
    environ = {"PATH": "/usr/bin:/bin", "QGJOB_APPWRIGHT_PATH": path}
    done = subprocess.run([str(NPX), *words], env=environ, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_appium_is_said_to_have_started_in_its_own_words() -> None:
    real = recording()
    assert STARTED in real["log"][0]
    assert TAKEN in real["port_taken"][1][0]
    code, said = run("appium")
    assert (code, STARTED in said, TAKEN in said) == (0, True, False)


@pytest.mark.parametrize("word", ["install", "uninstall"])
def test_its_drivers_are_left_as_they_are(word: str) -> None:
    assert run("appium", "driver", word, "uiautomator2") == (0, "")


def test_all_else_goes_to_the_npx_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "npx").write_text('#!/bin/sh\necho "$@"\nexit 7\n')
    (tmp_path / "npx").chmod(0o755)
    assert run("playwright", "test", path=f"{tmp_path}:/usr/bin:/bin") == (7, "playwright test\n")
