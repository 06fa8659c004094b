"""What the doctor of a host says of an account at BrowserStack."""

from __future__ import annotations

from pathlib import Path

from qgjob_agent.config import load_config
from qgjob_agent.doctor import appwright, browserstack
from qgjob_agent.doctor.findings import Finding, Level
from qgjob_agent.doctor.host import Host
from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack


def host(cloud: BrowserStack, folder: Path, **changed: str) -> Host:
    environ = {
        "STATE_DIR": str(folder),
        "RUNNER": "appwright",
        "APPWRIGHT_SUITE_DIR": str(folder),
        "APPWRIGHT_PROJECT": "cloud",
        "BROWSERSTACK_ENABLED": "true",
        "BROWSERSTACK_USERNAME": USER,
        "BROWSERSTACK_ACCESS_KEY": KEY,
        "BROWSERSTACK_MODEL": "Google Pixel 8",
        "BROWSERSTACK_OS_VERSION": "14.0",
        "BROWSERSTACK_API_URL": cloud.url,
    }
    return Host(load_config(None, environ | changed, folder), "linux")


async def test_the_account_is_asked_and_its_answer_told(cloud: BrowserStack, tmp_path: Path) -> None:
    async def found(**changed: str) -> Finding:
        (finding,) = await browserstack.plan(host(cloud, tmp_path, **changed))
        assert finding.check == "browserstack.plan"
        assert KEY not in f"{finding.found} {finding.advice}"
        return finding

    cloud.account.control.foreign = 1
    fine = await found()
    assert (fine.level, fine.found) == (Level.OK, f"1 of 2 sessions run at {cloud.url}")
    assert (await found(BROWSERSTACK_SESSIONS="3")).level is Level.WARNING
    refused = await found(BROWSERSTACK_ACCESS_KEY="another")
    assert (refused.level, "401" in refused.found) == (Level.PROBLEM, True)
    assert "browserstack.access_key" in (refused.advice or "")
    cloud.account.control.most = 0
    assert (await found()).level is Level.PROBLEM
    await cloud.stop()
    assert "does not answer" in (await found()).found
    assert (await found(BROWSERSTACK_ENABLED="false", AGENT_ID="agent-1")).found.startswith("not used")
    await cloud.start()  # for its end


async def test_no_appium_is_wanted_and_versions_that_were_not_tried_are_a_problem(
    cloud: BrowserStack, tmp_path: Path
) -> None:
    looked_at = host(cloud, tmp_path)
    for check in (appwright.appium, appwright.drivers):
        (finding,) = await check(looked_at)
        assert finding.found.startswith("not used"), finding
    for name, version in (("playwright", "1.40.0"), ("appwright", "0.1.1")):
        (tmp_path / "node_modules" / name).mkdir(parents=True)
        (tmp_path / "node_modules" / name / "package.json").write_text(f'{{"version": "{version}"}}')
    (tmp_path / "appwright.config.ts").touch()
    (suite,) = await appwright.suite(looked_at)
    assert suite.level is Level.PROBLEM
    assert "sessions of a plan want versions that were tried" in suite.found
