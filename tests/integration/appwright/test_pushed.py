"""A suite that comes with its jobs, from the command line to the real AppWright: on an emulator, and in a cloud."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from examples.appwright_demo.cloud import Cloud
from examples.appwright_demo.fakes import AdbServer, Sizes
from examples.appwright_demo.product import Product
from examples.appwright_demo.suite import ORG, VERSIONS, Project
from tests.fakes import command_line
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB
from tests.fakes.appwright_packages import cache

LONGEST_SECONDS = 330.0
NPMRC = "ignore-scripts=true\nprefer-offline=true\n"
"""What is packed with the suite. Its packages are in npm's cache since the other suites' were installed."""
CACHE_MB = 500
"""AppWright's packages, and the suites of many runs."""
ANOTHER = """import { expect, test } from "appwright";
test("is greeted", async ({ device }) => {
  await expect(device.getByText("Hello", { exact: true })).toBeVisible();
  console.log("said by a file of the second suite");
});
"""


async def qgjob(product: Product, folder: Path, *words: str) -> str:
    """What it printed."""
    where = {"QGJOB_COORDINATOR": product.stack.address(0), "QGJOB_ORG_ID": ORG}
    done = await command_line.qgjob(folder, *words, seconds=LONGEST_SECONDS, **where)
    assert done.code == 0, done
    return done.out


async def run(product: Product, folder: Path, target: str) -> dict[str, Any]:
    """The suite's only file on a device of this target, as JSON tells the job at its end."""
    words = ("--suite=suite", "--test=tests/*.spec.ts", f"--target={target}", "--timeout=300s", "-o", "json")
    out = await qgjob(product, folder, "run", f"--app-version-id={VERSIONS[0]}", *words)
    (job,) = json.loads(out)["jobs"]
    return dict(job)


@pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
async def test_two_suites_with_one_lock_file_run_on_two_agents_after_one_npm_ci(tmp_path: Path) -> None:
    """Or after none, where an earlier run of this test has left the packages in the cache that agents here share."""
    sizes = Sizes(1, 1, install_seconds=0.0, test_seconds=0.0)
    project = Project(tmp_path, sizes.files)
    mine = uuid.uuid4().hex  # so that no suite was ever run before
    (project.suite / "README").write_text(mine)
    (project.suite / ".npmrc").write_text(NPMRC)
    npm, runs, shared = tmp_path / "npm", tmp_path / "npm-runs", cache() / "suites"
    npm.write_text(f'#!/bin/sh\necho "$@" >> {runs}\nexec npm "$@"\n')
    npm.chmod(0o755)
    project.settings = {"SUITES_CACHE_DIR": shared, "SUITES_CACHE_MB": CACHE_MB, "SUITES_NPM": npm}
    async with (
        AdbServer(sizes) as adb,
        Cloud(sizes) as cloud,
        Product(tmp_path / "product", sizes, adb, project, [cloud.agent(project)]) as product,
    ):
        first = await run(product, tmp_path, "emulator")
        (project.suite / project.test_paths[0]).write_text(ANOTHER)
        second = await run(product, tmp_path, "browserstack")
        log = await qgjob(product, tmp_path, "logs", second["job_id"])
        assert (adb.installs().total(), cloud.account.uploads.total()) == (1, 1)
    assert [job["device_id"].partition(".")[0] for job in (first, second)] == ["lab", "cloud"]
    assert [job["attempts"][-1]["result"]["passed"] for job in (first, second)] == [2, 1]
    assert "said by a file of the second suite" in log
    suites = [each.parent for each in (shared / "kept").glob("suite-*/README") if each.read_text() == mine]
    assert len(suites) == 2
    (packages,) = {(suite / "node_modules").resolve() for suite in suites}
    assert (packages / "appwright" / "package.json").is_file()
    said = runs.read_text().splitlines() if runs.exists() else []
    assert [words.split()[0] for words in said] in ([], ["ci"])
