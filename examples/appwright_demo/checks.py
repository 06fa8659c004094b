"""What the whole has to hold, tried one after the other on one product; see docs/appwright.md."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from examples.appwright_demo.cloud import RUNS, SESSIONS
from examples.appwright_demo.figures import (
    BUSY_SHARE,
    Expected,
    at_most,
    attempts_by_device,
    busy_shares,
    equal,
    more_than,
    outcomes,
)
from examples.appwright_demo.suite import TESTS, VERSIONS
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from examples.appwright_demo.cloud import Cloud
    from examples.appwright_demo.product import Product
    from qgjob import Job

_SOME_SESSIONS = 3
_PATIENCE_SECONDS = 300.0


async def first_run(
    product: Product, test_paths: list[str], devices: int, *, busy: bool
) -> tuple[list[Job], list[Expected]]:
    """All files on the first version: one installation a device, and, where it is long enough, nearly always `busy`."""
    jobs = await product.run("first", VERSIONS[0], test_paths)
    shares = busy_shares(jobs)
    records = await product.installs_of_devices()
    found = [
        equal("outcomes", outcomes(jobs), {"passed"}),
        equal("attempts", sum(len(job.attempts) for job in jobs), len(test_paths)),
        equal("sessions", product.sessions().total(), TESTS * len(test_paths)),
        equal("devices that served", len(shares), devices),
        equal("installations, as the devices counted them", product.adb.installs().total(), devices),
        equal("installations, as the run tells them", await product.installs_of_run("first"), devices),
        equal("installations, as the devices' records tell them", records.total(), devices),
        equal("installations, as the metrics tell them", await product.installs_of_metrics(), devices),
    ]
    if busy:
        found += [more_than(f"share of time that {d} was busy", x, BUSY_SHARE) for d, x in shares.items()]
    return jobs, found


async def cloud_runs(product: Product, cloud: Cloud, test_paths: list[str]) -> tuple[list[list[Job]], list[Expected]]:
    """Some files on sessions of a plan, in several runs: the build is uploaded once, and no session begins too many."""
    run_ids = [f"cloud-{number}" for number in range(1, RUNS + 1)]
    runs = [await product.run(run_id, VERSIONS[0], test_paths, "browserstack") for run_id in run_ids]
    jobs, account = [job for run in runs for job in run], cloud.account
    told = [await product.installs_of_run(run_id) for run_id in run_ids]
    return runs, [
        equal("cloud: outcomes", outcomes(jobs), {"passed"}),
        equal("cloud: attempts", sum(len(job.attempts) for job in jobs), len(jobs)),
        equal("cloud: sessions", len(account.sessions), TESTS * len(jobs)),
        equal("cloud: uploads, as the account counted them", account.uploads.total(), 1),
        equal("cloud: uploads, as the runs tell them", told, [1] + [0] * (RUNS - 1)),
        equal("cloud: sessions begun though the plan was seen full", account.violations, 0),
        at_most("cloud: sessions at once", account.most_at_once, SESSIONS),
    ]


async def second_version(product: Product, test_paths: list[str], devices: int) -> list[Expected]:
    """Another build of the same app, in the middle of which the agent is killed: one installation more a device."""
    before = product.adb.installs().total()
    jobs = await product.submit("second", VERSIONS[1], test_paths)
    await _later(product, _SOME_SESSIONS * devices)
    installed = product.adb.installs().total() - before
    await product.restart_agent()
    ended = await product.verdicts(jobs)
    return [
        equal("second version: outcomes", outcomes(ended), {"passed"}),
        equal("second version: attempts", sum(len(job.attempts) for job in ended), len(test_paths)),
        equal("second version: installations before the agent was killed", installed, devices),
        equal("second version: installations", product.adb.installs().total() - before, devices),
        equal("second version: installations, as the run tells them", await product.installs_of_run("second"), devices),
    ]


async def replugged(product: Product, test_paths: list[str], serial: str) -> list[Expected]:
    """A device is unplugged in the middle and comes back: at most one installation more, on that device."""
    before = product.adb.installs()
    jobs = await product.submit("replugged", VERSIONS[1], test_paths)
    at_work = product.sessions()[serial]
    await until(lambda: product.sessions()[serial] > at_work, f"{serial} has nothing to do", seconds=_PATIENCE_SECONDS)
    product.adb.unplug(serial)
    await until(lambda: _lost(product, serial), f"{serial} is still there")
    product.adb.plug(serial)
    ended = await product.verdicts(jobs)
    more = product.adb.installs() - before
    here = sum(count for (where, _), count in more.items() if where == serial)
    return [
        equal("unplugged and back: outcomes", outcomes(ended), {"passed"}),
        at_most(f"unplugged and back: installations on {serial}", here, 1),
        equal("unplugged and back: installations elsewhere", more.total() - here, 0),
    ]


async def one_of_many(product: Product, test_paths: list[str], devices: int) -> list[Expected]:
    """Many devices of one host at work, and one of their jobs is cancelled: the others don't notice."""
    jobs = await product.submit("many", VERSIONS[0], test_paths)
    await until(lambda: len(product.sessions()) == devices, "not all devices work", seconds=_PATIENCE_SECONDS)
    ids = [job.job_id for job in jobs]
    victim = await until(lambda: _running(product, ids), "no job runs")
    await product.client.cancel(victim.job_id)
    ended = await product.verdicts(jobs)
    others = [job for job in ended if job.job_id != victim.job_id]
    hit = [str(job.status) for job in ended if job.job_id == victim.job_id]
    refused = {serial: count for serial, count in product.refused().items() if count}
    return [
        equal("many devices: devices that served", len(attempts_by_device(others)), devices),
        equal("many devices: the cancelled one", hit, ["cancelled"]),
        equal("many devices: outcomes of the others", outcomes(others), {"passed"}),
        equal("many devices: attempts of the others", sum(len(job.attempts) for job in others), len(others)),
        equal("many devices: sessions that met another's", refused, {}),
        equal("many devices: installations", product.adb.installs().total(), devices),
    ]


async def _later(product: Product, sessions: int) -> None:
    """Returns when so many more sessions have begun."""
    so_far = product.sessions().total()
    enough: Callable[[], bool] = lambda: product.sessions().total() >= so_far + sessions  # noqa: E731
    await until(enough, f"{sessions} more sessions do not begin", seconds=_PATIENCE_SECONDS)


async def _lost(product: Product, serial: str) -> bool:
    states = {device.udid: str(device.state) async for device in product.client.devices()}
    return states.get(serial) in (None, "offline")


async def _running(product: Product, job_ids: list[str]) -> Job | None:
    for job in await asyncio.gather(*(product.client.get(job_id) for job_id in job_ids)):
        if job.status == "running":
            return job
    return None
