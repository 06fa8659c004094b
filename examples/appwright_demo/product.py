"""The product on the stand-ins: a store, a coordinator, and an agent that finds its emulators by adb."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Any, Self
from urllib.error import URLError
from urllib.request import urlopen

from examples.appwright_demo.fakes import PYTHONPATH, AdbServer, Sizes, appium_words, counts
from examples.appwright_demo.suite import ORG, Project
from qgjob import AsyncClient, DeviceState, JobSpec
from tests.fakes.stack import PATIENT, AgentPlan, Stack
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qgjob import Job

AGENT = "lab"
_RUN_SECONDS = 900.0
_LAST_LINES = 20
_INSTALLS = 'qgjob_installs_total{outcome="passed"}'


class Product:
    """An async context manager; when it has begun all devices are idle, and each version has its build.

    `others` are agents beside the one with the emulators, such as one with sessions of a cloud.
    """

    def __init__(
        self, folder: Path, sizes: Sizes, adb: AdbServer, project: Project, others: Sequence[AgentPlan] = ()
    ) -> None:
        self.adb = adb
        self._project = project
        self._idle = Counter({AGENT: sizes.devices} | {other.agent_id: other.devices for other in others})
        self._state = folder / "stack" / AGENT / "state"
        settings = project.settings | {
            "ADB_ENABLED": "true",
            "ADB_PORT": adb.port,
            "APPWRIGHT_PROJECT": "android",
            "APPWRIGHT_APPIUM": json.dumps(appium_words(sizes, adb.control, "{port}")),
            "APPWRIGHT_ENV_ALLOW": "PATH,HOME,PYTHONPATH,ANDROID_HOME",
            "PYTHONPATH": PYTHONPATH,
            "ANDROID_HOME": project.sdk,
            "QGJOB_PARENT_PID": os.getpid(),  # so that its Appium ends with it
        }
        plan = AgentPlan(AGENT, 0, "emulator", runner="appwright", settings=settings)
        self.stack = Stack(folder / "stack", coordinators=1, agents=[plan, *others], times=PATIENT)
        self.client: AsyncClient

    async def __aenter__(self) -> Self:
        try:
            await self.stack.start()
            self.client = self.stack.client()
            await until(self._all_idle, "not all devices are found, and idle")
            for version, path in self._project.builds.items():
                await self.client.push_build(ORG, version, path)
        except BaseException as error:
            await self.__aexit__(type(error), error)
            raise
        return self

    async def __aexit__(
        self, _: type[BaseException] | None = None, error: BaseException | None = None, *__: object
    ) -> None:
        if error is not None:
            said = self.stack.agents[AGENT].said().splitlines()[-_LAST_LINES:]
            error.add_note("\n".join(["the agent said:", *said]))
        with contextlib.suppress(AttributeError):  # it did not come so far
            await self.client.close()
        await self.stack.stop()

    # ---- what is done ----

    async def submit(self, run_id: str, version: str, test_paths: Sequence[str], target: str = "emulator") -> list[Job]:
        """Gives these files to the coordinator."""
        specs = [JobSpec(ORG, version, path, target=target, run_id=run_id) for path in test_paths]
        return list(await self.client.submit_many(specs))

    async def verdicts(self, jobs: list[Job]) -> list[Job]:
        """The jobs when each has its verdict."""
        async with asyncio.timeout(_RUN_SECONDS):
            final = {job.job_id: job async for job in self.client.follow([job.job_id for job in jobs]) if job.final}
        return [final[job.job_id] for job in jobs]

    async def run(self, run_id: str, version: str, test_paths: Sequence[str], target: str = "emulator") -> list[Job]:
        """Submits, and waits for the verdicts."""
        return await self.verdicts(await self.submit(run_id, version, test_paths, target))

    async def restart_agent(self) -> None:
        """SIGKILL, and its next life."""
        self.stack.agents[AGENT].kill()
        self.stack.agents[AGENT].start()
        await self.stack.online(AGENT)

    async def _all_idle(self) -> bool:
        devices = self.client.devices()
        return Counter([x.agent_id async for x in devices if x.state is DeviceState.IDLE]) == self._idle

    # ---- what it tells ----

    async def installs_of_run(self, run_id: str) -> int:
        """As its run tells it."""
        return (await self.client.run(ORG, run_id)).installs

    async def installs_of_devices(self) -> Counter[str]:
        """As its devices tell it, by serial."""
        return Counter({device.udid: device.installs async for device in self.client.devices()})

    async def installs_of_metrics(self) -> int:
        """As its metrics tell it."""
        ready = await self.stack.coordinators[0].says("coordinator_ready")
        url = f"http://127.0.0.1:{ready['port']}/metrics"
        with await asyncio.to_thread(urlopen, url) as answer:
            lines = answer.read().decode().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if line.startswith(_INSTALLS))

    def sessions(self) -> Counter[str]:
        """Sessions that its Appium had, by serial; none before there is one."""
        return self._of_appium("sessions")

    def refused(self) -> Counter[str]:
        """Sessions that its Appium refused, since the device had one."""
        return self._of_appium("refused_busy")

    def capabilities(self) -> list[dict[str, Any]]:
        """What each session of its Appium was asked for; none before there is one."""
        found: list[dict[str, Any]] = self._told_by_appium().get("capabilities", [])
        return found

    def _of_appium(self, what: str) -> Counter[str]:
        devices = self._told_by_appium().get("devices", {})
        return Counter({serial: told[what] for serial, told in devices.items()})

    def _told_by_appium(self) -> dict[str, Any]:
        try:
            return counts(json.loads((self._state / "appium.json").read_text("utf-8"))["port"])
        except (FileNotFoundError, json.JSONDecodeError, URLError):
            return {}  # it has not begun, or is only just written down
