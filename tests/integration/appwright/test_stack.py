"""The whole product with the real AppWright: a coordinator, an agent that finds two emulators by the real adb."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.appwright_demo.fakes import AdbServer, Sizes
from examples.appwright_demo.product import Product
from examples.appwright_demo.suite import VERSIONS, Project
from tests.fakes.adb_provider import NEEDS_ADB, NO_ADB
from tests.fakes.waiting import until

FILES = 8


@pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
async def test_a_group_has_one_install_a_device_and_an_agents_death_costs_none_of_it(tmp_path: Path) -> None:
    sizes = Sizes(FILES, 2, install_seconds=0.5, test_seconds=0.1)
    project = Project(tmp_path, FILES)
    async with AdbServer(sizes) as adb, Product(tmp_path / "product", sizes, adb, project) as product:
        jobs = await product.submit("nightly", VERSIONS[0], project.test_paths)
        await until(lambda: product.sessions().total() >= 3, "some tests", seconds=180)
        await product.restart_agent()
        ended = await product.verdicts(jobs)
        assert [(job.status, len(job.attempts)) for job in ended] == [("completed", 1)] * FILES
        assert sorted(adb.installs().values()) == [1, 1]
        assert product.sessions().total() == 2 * FILES  # the next daemon found the same Appium
        assert product.refused().total() == 0
        assert {asked.get("appium:adbPort") for asked in product.capabilities()} == {adb.port}
        assert await product.installs_of_run("nightly") == 2
        assert (await product.installs_of_devices()).total() == 2
        assert await product.installs_of_metrics() == 2
