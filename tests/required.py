"""`pytest --require`: a test that is left out for want of something fails the run, unless a machine may lack that.

`.ci/run` asks for it, so that what vouches for a change says what it did not look at. Without it such a test is left
out and says so; what is left out is printed either way, with its reason.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

MAY_LACK = (
    "a file system of the test's own needs root",
    "this user may not mount a tmpfs",
    "only root may try what another user may",
    "this host lets us make no cgroup",
    "this machine has no systemd",
    "strace may not attach to the store",
    "this machine has a valkey-server",
    "this machine has another aapt",
    "this machine has another adb",
    "this machine is busy",
)
"""How the reasons begin that are a machine's to have: rights, what else is installed, and who else works there.

Another program that is missing is none: it can be installed.
"""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option."""
    text = "fail where a test is left out, unless for a reason that a machine may have (tests/required.py)"
    parser.addoption("--require", action="store_true", help=text)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes a failure of a test that may not be left out."""
    report = yield
    left_out = call.excinfo.value if call.excinfo is not None else None
    if item.config.getoption("require") and isinstance(left_out, pytest.skip.Exception):
        reason = str(left_out.msg)
        if not reason.startswith(MAY_LACK):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} was left out, and may not be with --require: {reason}"
    return report
