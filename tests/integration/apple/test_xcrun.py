"""Whatever becomes of a call of Xcode's programs, it ends within its bound and is told in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qgjob_agent.devices.apple.xcrun import Xcrun
from qgjob_agent.devices.refusals import DeviceSilentError
from qgjob_agent.host.program import HostError


def xcrun(folder: Path, script: str) -> Xcrun:
    """An xcrun that does this."""
    program = folder / "xcrun"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return Xcrun(str(program), {"PATH": os.environ["PATH"]})


async def test_errors_are_kept_apart_from_what_is_read(tmp_path: Path) -> None:
    ended = await xcrun(tmp_path, "echo warning >&2; echo '{}'").simctl("list", seconds=20)
    assert (ended.code, ended.output, ended.errors) == (0, "{}\n", "warning\n")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 0", "devicectl wrote no answer in JSON; it needs Xcode 15 or later"),
        ("echo 'no such option' >&2; exit 64", "no such option"),
        ("exit 64", "devicectl ended with 64"),
    ],
)
async def test_an_answer_that_is_none_is_a_problem(tmp_path: Path, script: str, problem: str) -> None:
    assert await xcrun(tmp_path, script).devicectl("list", "devices", seconds=20) == (None, problem)


async def test_a_host_without_xcode_is_told_what_to_do(tmp_path: Path) -> None:
    said = 'xcrun: error: unable to find utility "simctl", not a developer tool or in PATH'
    with pytest.raises(HostError, match=r"unable to find utility.*install Xcode"):
        await xcrun(tmp_path, f"echo '{said}' >&2; exit 72").simctl("list", seconds=20)


async def test_a_call_that_hangs_is_killed_and_told(tmp_path: Path) -> None:
    with pytest.raises(DeviceSilentError, match=r"`xcrun simctl list devices` did not end in 0\.2 s, and was killed"):
        await xcrun(tmp_path, "sleep 300 & sleep 300").simctl("list", "devices", seconds=0.2)
