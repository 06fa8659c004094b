"""The projects that the settings name, judged by Playwright's own reading of the suite's config."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_agent.config import load_config
from qgjob_agent.core.values import Outcome
from qgjob_agent.doctor import projects
from qgjob_agent.doctor.findings import Finding, Level
from qgjob_agent.doctor.host import Host
from tests.fakes.appwright_suite import make_suite
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.lab import DEVICE


def host(suite: Path, **changed: str) -> Host:
    environ = {"AGENT_ID": "mini-1", "RUNNER": "appwright", "APPWRIGHT_SUITE_DIR": str(suite), "PATH": "/usr/bin:/bin"}
    named = {"ADB_ENABLED": "true", "APPLE_ENABLED": "true", "APPWRIGHT_PROJECT": "android"}
    return Host(load_config(None, environ | named | changed, suite.parent), "darwin")


@pytest.mark.parametrize(
    ("changed", "level", "found"),
    [
        (
            {"APPWRIGHT_PROJECTS_IOS": "sims"},
            Level.PROBLEM,
            '/suite/appwright.config.ts has no project "sims"; it has "android", "cloud"',
        ),
        ({"APPWRIGHT_PROJECTS_BROWSERSTACK": "not used here"}, Level.OK, "/suite/appwright.config.ts has android"),
    ],
)
async def test_a_project_that_the_config_does_not_have_is_a_problem(
    tmp_path: Path, changed: dict[str, str], level: Level, found: str
) -> None:
    (finding,) = await projects.projects(host(make_suite(tmp_path / "suite"), **changed))
    assert (finding.level, finding.found) == (level, f"{tmp_path}{found}")


async def test_a_config_that_can_be_read_by_tests_only_is_told_with_what_it_says(tmp_path: Path) -> None:
    suite = make_suite(tmp_path / "suite")

    async def look() -> Finding:
        (finding,) = await projects.projects(host(suite))
        return finding

    (suite / "appwright.config.ts").write_text('throw new Error("who is QGJOB_UDID?");\n')
    finding = await look()
    assert (finding.level, "who is QGJOB_UDID?" in finding.found) == (Level.WARNING, True)
    assert "which are there for tests only" in (finding.advice or "")
    (suite / "appwright.config.ts").unlink()
    assert (await look()).found.startswith("not used: ")


async def test_a_test_of_a_project_that_is_not_there_is_told_which_there_are(make_lab: MakeLab) -> None:
    lab = await make_lab({"a.spec.ts": 'import { test } from "@playwright/test";\ntest("a", () => {});\n'})
    lab.project = "sims"
    runner = await lab.begin()
    runner.start(DEVICE, [lab.job("a.spec.ts")])
    await lab.ended("a")
    finished = lab.told.finished("a")
    assert finished.outcome is Outcome.PROVIDER_ERROR
    assert 'Project(s) "sims" not found. Available projects: "android"' in (finished.error or "")
