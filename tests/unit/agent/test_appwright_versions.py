"""Which versions the fast mode is used with, and what a suite that can't run is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qgjob_agent.runners.appwright.fits import TRIED_PLAYWRIGHT, Part
from qgjob_agent.runners.appwright.versions import SuiteError, look_at
from tests.fakes.unprivileged import open_to_all, unprivileged


def suite(folder: Path, playwright: str | None = "1.59.1", appwright: str | None = "0.1.1", worker: str = "") -> Path:
    for name, version in (("playwright", playwright), ("appwright", appwright)):
        if version is not None:
            package = folder / "node_modules" / name
            package.mkdir(parents=True)
            (package / "package.json").write_text(json.dumps({"name": name, "version": version}))
    if playwright is not None:
        lib = folder / "node_modules" / "playwright" / "lib" / "worker"
        lib.mkdir(parents=True)
        (lib / "workerMain.js").write_text(worker or "  async runTestGroup(runPayload) {")
        names = ("run", "_checkFinished", "_isWorkerRedundant", "_scheduleJob")
        (lib.parent / "runner").mkdir()
        (lib.parent / "runner" / "dispatcher.js").write_text("".join(f"  {name}() {{}}\n" for name in names))
    return folder


def test_versions_that_were_tried_are_fast(tmp_path: Path) -> None:
    found = look_at(suite(tmp_path))
    assert (found.fast, found.joins, found.appwright, found.playwright) == (True, True, "0.1.1", "1.59.1")


def test_one_that_takes_no_further_files_is_fast_and_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRIED_PLAYWRIGHT, "1.40.0", frozenset({Part.FILES}))
    found = look_at(suite(tmp_path, playwright="1.40.0"))
    assert (found.fast, found.joins) == (True, False)
    assert found.why_alone == "Playwright 1.40.0 is not known to take further files into a process that runs"
    found = look_at(tmp_path, plain=True)
    assert (found.fast, found.joins, found.why_alone) == (False, False, None)


def test_packages_are_found_where_node_finds_them(tmp_path: Path) -> None:
    below = suite(tmp_path) / "packages" / "tests"
    below.mkdir(parents=True)
    assert look_at(below).folder == tmp_path / "node_modules" / "playwright"


@pytest.mark.parametrize(
    ("versions", "why"),
    [
        ({"appwright": "0.1.46"}, "AppWright 0.1.46 was not tried; tried: 0.1.1"),
        ({"playwright": "1.40.0"}, "Playwright 1.40.0 was not tried; tried: "),
        ({"worker": "runTests("}, "is not as it was released: lib/worker/workerMain.js has no runTestGroup"),
    ],
)
def test_what_was_not_tried_runs_plain_and_says_why(tmp_path: Path, versions: dict[str, str], why: str) -> None:
    found = look_at(suite(tmp_path, **versions))
    assert not found.fast
    assert why in (found.why_plain or "")


def test_plain_may_be_asked_for(tmp_path: Path) -> None:
    assert look_at(suite(tmp_path), plain=True).why_plain == 'appwright.mode is "plain"'


@pytest.mark.parametrize(
    ("versions", "why"),
    [
        ({"playwright": "1.60.0"}, 'fails every test of AppWright 0.1.1; pin it in package.json with "overrides"'),
        ({"playwright": "2.0.0"}, "fails every test"),
        ({"playwright": "next"}, "which is none; run `npm ci` again"),
        ({"playwright": None}, "has no Playwright; run `npm ci` in it"),
    ],
)
def test_a_suite_that_can_not_run_is_told_what_to_do(tmp_path: Path, versions: dict[str, str | None], why: str) -> None:
    with pytest.raises(SuiteError, match=why.replace("(", r"\(")):
        look_at(suite(tmp_path, **versions))


def test_packages_that_this_user_may_not_see_are_told() -> None:
    """As after `sudo npm ci`."""
    with open_to_all() as folder:
        suite(folder)
        (folder / "node_modules").chmod(0o700)
        with unprivileged(), pytest.raises(SuiteError, match="playwright may not be looked at by this user"):
            look_at(folder)


def test_a_broken_package_is_told(tmp_path: Path) -> None:
    made = suite(tmp_path)
    (made / "node_modules" / "playwright" / "package.json").write_text("{")
    with pytest.raises(SuiteError, match="can't be read"):
        look_at(made)
