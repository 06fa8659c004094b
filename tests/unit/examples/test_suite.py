"""The example suite behaves as the demo expects: by release, by target, and by attempt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[3] / "examples" / "suite"
FILES = sorted(path.relative_to(SUITE).as_posix() for path in SUITE.glob("tests/*/*_test.py"))
RELEASES = ("shop-1.8.0", "shop-1.9.0", "shop-2.0.0-rc.1")
COLD_AT_FIRST = {
    "tests/notifications/push_delivery_test.py",
    "tests/profile/picture_upload_test.py",
    "tests/search/new_product_test.py",
}
BROKEN = ("tests/checkout/coupon_stacking_test.py", "shop-2.0.0-rc.1")

# All files of one release in one interpreter, each as run.py would run it; prints those that fail.
RUN_ALL = """
import contextlib, io, sys
sys.path.insert(0, {suite!r})
import run
for path in {files!r}:
    with contextlib.redirect_stdout(io.StringIO()):
        failed = run.run(run.load(path))
    if failed:
        print(path)
"""


def failing(release: str, target: str, attempt: int) -> set[str]:
    script = RUN_ALL.format(suite=str(SUITE), files=FILES)
    env = {"QGJOB_APP_VERSION_ID": release, "QGJOB_TARGET": target, "QGJOB_ATTEMPT": str(attempt)}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    return set(done.stdout.split())


def run_one(*argv: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", str(SUITE / "run.py"), *argv]
    return subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=False)


def test_there_are_enough_files_for_a_demonstration():
    assert len(FILES) >= 48


@pytest.mark.parametrize("target", ["emulator", "device", "browserstack"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_warm_attempt_fails_only_where_the_release_has_its_bug(release, target):
    assert failing(release, target, attempt=2) == ({BROKEN[0]} if release == BROKEN[1] else set())


@pytest.mark.parametrize("release", RELEASES)
def test_a_first_attempt_fails_where_a_service_is_cold(release):
    assert failing(release, "emulator", attempt=1) - {BROKEN[0]} == COLD_AT_FIRST


def test_run_says_what_failed_and_exits_with_one():
    command = [sys.executable, "-I", "-S", str(SUITE / "run.py"), BROKEN[0]]
    done = subprocess.run(
        command, env={"QGJOB_APP_VERSION_ID": BROKEN[1]}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    last_line = done.stdout.splitlines()[-1]
    assert last_line.startswith("1 passed, 1 failed; ")
    assert last_line.endswith("SAVE10 then MINUS5 costs 85.00, MINUS5 then SAVE10 85.50")


@pytest.mark.parametrize(
    ("argv", "said"), [((), "usage"), (("tests/none_test.py",), "No such file"), (("checks.py",), "no function")]
)
def test_run_tells_a_missing_test_from_a_failed_one(argv, said):
    done = run_one(*argv)
    assert done.returncode == 2
    assert said in done.stderr
