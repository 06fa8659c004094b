"""The example's tests by the product and by AppWright itself, on emulators and on sessions of a cloud plan."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from examples.appwright_demo import checks
from examples.appwright_demo.cloud import RUNS, SESSIONS, Cloud
from examples.appwright_demo.fakes import AdbServer, Sizes
from examples.appwright_demo.figures import Expected, at_most, equal, wall_seconds
from examples.appwright_demo.plain import Plain, plain_in_cloud, plain_on_emulator
from examples.appwright_demo.product import Product
from examples.appwright_demo.suite import TESTS, VERSIONS, Project

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

    from rich.console import Console

    from qgjob import Job
    from tests.fakes.browserstack.account import Account

_REPLUGGED_FILES = 6


@dataclass(slots=True)
class Found:
    """Both ways on both kinds of devices; what those counted and the product told of installations and uploads."""

    jobs: list[Job]
    cloud_runs: list[list[Job]]
    account: Account
    installs: int
    told_installs: int
    told_uploads: int
    expected: list[Expected]
    plain: Plain
    plain_cloud: Plain


async def compare(console: Console, folder: Path, sizes: Sizes, project: Project, *, check: bool) -> Found:
    """The product, and AppWright by itself, on the same emulators and on sessions of equal plans."""
    some = project.test_paths[:SESSIONS]
    async with AdbServer(sizes) as adb, Cloud(sizes) as cloud, Cloud(sizes) as plain_cloud:
        console.print(f"{sizes.files} files of {TESTS} tests on {sizes.devices} emulators, by qgjob …")
        async with Product(folder / "product", sizes, adb, project, [cloud.agent(project)]) as product:
            jobs, expected = await checks.first_run(product, project.test_paths, sizes.devices, busy=check)
            told = await product.installs_of_metrics()
            counted = adb.installs().total()
            console.print(f"… {len(some)} of them on {SESSIONS} sessions of a cloud plan, in {RUNS} runs …")
            cloud_runs, found = await checks.cloud_runs(product, cloud, some)
            expected += found
            told_uploads = await product.installs_of_metrics() - told
            if check:
                expected += await _changes(console, product, project, sizes)
        console.print("… and by AppWright itself, on one of the emulators, and on sessions of another such plan …")
        build = project.builds[VERSIONS[0]]
        plain, in_cloud = await _both(
            plain_on_emulator(folder, sizes, adb, project, build),
            plain_in_cloud(folder, plain_cloud, project, build, some),
        )
    expected += _against(sizes, plain, wall_seconds(jobs), check=check)
    expected += _against_cloud(in_cloud, len(some))
    return Found(jobs, cloud_runs, cloud.account, counted, told, told_uploads, expected, plain, in_cloud)


async def _changes(console: Console, product: Product, project: Project, sizes: Sizes) -> list[Expected]:
    console.print("… a second version, and the agent killed in the middle …")
    expected = await checks.second_version(product, project.test_paths, sizes.devices)
    console.print("… a device unplugged in the middle …")
    some = project.test_paths[:_REPLUGGED_FILES]
    return expected + await checks.replugged(product, some, "emulator-5554")


async def _both(one: Coroutine[None, None, Plain], other: Coroutine[None, None, Plain]) -> tuple[Plain, Plain]:
    """Side by side, since the one in the cloud mostly waits; the first error of one ends the other."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = group.create_task(one), group.create_task(other)
    except ExceptionGroup as group_error:
        raise group_error.exceptions[0] from group_error
    return tasks[0].result(), tasks[1].result()


def _against(sizes: Sizes, plain: Plain, wall: float, *, check: bool) -> list[Expected]:
    found = [
        equal("plain: tests that failed", plain.failed, 0),
        equal("plain: installations", plain.installs, TESTS * sizes.files),
    ]
    if check:  # a short run is mostly the start of Playwright
        found.append(at_most("wall time, of that of one device in plain mode", wall / plain.wall_seconds, 0.5))
    return found


def _against_cloud(plain: Plain, files: int) -> list[Expected]:
    return [
        equal("plain, cloud: tests", plain.tests, RUNS * files * TESTS),
        equal("plain, cloud: tests that failed", plain.failed, 0),
        equal("plain, cloud: uploads", plain.installs, RUNS),
    ]
