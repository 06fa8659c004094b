"""A whole stack of real processes on free ports: a private store, coordinators and agents, with short times.

    stack = Stack(folder)
    await stack.start()
    async with stack.client(0) as client: ...
    stack.agents["cmd-1"].kill()
    await stack.settle()      # whatever was killed or stopped runs again, every agent is at home
    await stack.stop()        # raises AssertionError when a process is left

Agents: `sim-*` run simulated tests of some 50 ms on emulators; `cmd-*` run `$TEST` of the job's environment in a shell
on devices. Each has a home: the coordinator that it tries first.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from qgjob import AgentState, AsyncClient, ConflictError, DeviceHealth, DeviceState
from tests.fakes.program import Program, end_leftovers
from tests.fakes.store_cluster import ClusterStore
from tests.fakes.store_process import StoreProcess
from tests.fakes.store_sentinel import SentinelStore
from tests.fakes.waiting import until

AGENT_KEY = "qg:f:{fleet}:ag:"
COMMAND = 'exec sh -c "$TEST"'
GRACE_SECONDS = 0.3
NO_TIMES: Mapping[int, float] = {}


@dataclass(frozen=True)
class Times:
    """Seconds; what an agent may do by its lease scales with them."""

    heartbeat: float = 0.3
    session: float = 1.5
    lease: float = 6.0

    @property
    def kill(self) -> float:
        """After so long without a confirmation supervisors kill."""
        return 0.8 * self.lease

    @property
    def give_up(self) -> float:
        """After so long without a renewal the coordinators release."""
        return self.lease * (1 + 2 / 60)

    @property
    def patience(self) -> float:
        """The store may be away for so long, and no test is killed."""
        return self.kill - 2 * self.heartbeat


PATIENT = Times(heartbeat=0.3, session=15.0, lease=60.0)
"""Where no session and no lease is to end, however busy the machine is."""


@dataclass(frozen=True)
class AgentPlan:
    """An agent of the stack. Its devices are `<agent_id>-1`, `<agent_id>-2`, …"""

    agent_id: str
    devices: int
    target: str
    home: int = 0
    runner: str = "simulated"
    settings: dict[str, object] = field(default_factory=dict)


PAIRS = (
    AgentPlan("sim-1", 3, "emulator", home=0),
    AgentPlan("sim-2", 3, "emulator", home=1),
    AgentPlan("cmd-1", 2, "device", home=0, runner="command"),
    AgentPlan("cmd-2", 2, "device", home=1, runner="command"),
)


class Stack:
    """See the module. `settings` are the coordinators', by name; each is `processes` on one port."""

    def __init__(
        self,
        folder: Path,
        *,
        coordinators: int = 2,
        agents: Sequence[AgentPlan] = PAIRS,
        times: Times | None = None,
        processes: int | None = None,
        store: StoreProcess | SentinelStore | ClusterStore | None = None,
        **settings: object,
    ) -> None:
        self.folder = folder
        self.times = times or Times()
        self.store = store or StoreProcess(folder / "store", "--appendonly", "yes", "--appendfsync", "always")
        self.plans = {plan.agent_id: plan for plan in agents}
        self._settings = settings
        self._processes = processes
        arguments = () if processes is None else ("--processes", str(processes))
        self.coordinators = [
            Program(f"coordinator-{i}", "qgjob_coordinator", folder / f"coordinator-{i}", {}, arguments)
            for i in range(coordinators)
        ]
        self.ports = [0] * coordinators
        self.store_up = False
        self._to_notice: dict[int, tuple[int, int]] = {}
        self.agents = {a: Program(a, "qgjob_agent", folder / a, {}) for a in self.plans}

    # Beginning and end.

    async def start(self) -> None:
        """Returns when everything serves."""
        self.start_store()
        for coordinator in self.coordinators:
            coordinator.start(**self.coordinator_settings())
        for i in range(len(self.coordinators)):
            await self.serving(i)
        for agent in self.agents.values():
            agent.start(**self.agent_settings(self.plans[agent.name]))
        await self.online(*self.agents)

    async def stop(self) -> None:
        """Ends everything. Raises AssertionError naming processes that were left."""
        for agent in self.agents.values():
            agent.resume()
        try:
            await asyncio.gather(*(agent.end() for agent in self.agents.values()))
            await asyncio.gather(*(coordinator.end() for coordinator in self.coordinators))
        finally:
            for program in (*self.agents.values(), *self.coordinators):
                program.kill()
            self.store.stop()
            left = await end_leftovers(self.folder, self.times.lease + GRACE_SECONDS)
        assert not left, f"processes were left: {left}"

    def start_store(self) -> None:
        """Starts the store, or starts it again with what it wrote down."""
        self.store.start()
        self.store_up = True
        self._to_notice = {
            i: (c.pid, len(c.events("store_new_life")) + 1) for i, c in enumerate(self.coordinators) if c.running
        }

    def kill_store(self) -> None:
        """SIGKILL."""
        self.store_up = False
        self.store.kill()

    def coordinator_settings(self) -> dict[str, object]:
        """The environment of a coordinator; its port is kept over lives."""
        return {
            "QGJOB_TEST_STACK": self.folder,
            "PORT": 0,
            "GRPC_PORT": 0,
            "REDIS_URL": self.store.url,
            "ENVIRONMENT": "production",
            "HEARTBEAT_SECONDS": self.times.heartbeat,
            "SESSION_TIMEOUT_SECONDS": self.times.session,
            "LEASE_SECONDS": self.times.lease,
            "KILL_GRACE_SECONDS": GRACE_SECONDS,
        } | self._settings

    def agent_settings(self, plan: AgentPlan) -> dict[str, object]:
        """The environment of an agent."""
        ports = self.ports[plan.home :] + self.ports[: plan.home]
        return {
            "QGJOB_TEST_STACK": self.folder,
            "QGJOB_COORDINATOR": ",".join(f"127.0.0.1:{port}" for port in ports),
            "AGENT_ID": plan.agent_id,
            "STATE_DIR": self.folder / plan.agent_id / "state",
            "ENVIRONMENT": "production",
            "RUNNER": plan.runner,
            "COMMAND_ARGV": f"sh -c '{COMMAND}'",
            "SIMULATED_GENERATE_COUNT": plan.devices,
            "SIMULATED_GENERATE_PREFIX": f"{plan.agent_id}-",
            "SIMULATED_GENERATE_TARGET": plan.target,
            "SIMULATED_INSTALL_SECONDS": 0.05,
            "SIMULATED_TEST_SECONDS": "0.03,0.07",
            "DRAIN_SECONDS": 0,
            "KILL_GRACE_SECONDS": GRACE_SECONDS,
        } | plan.settings

    # Waiting.

    async def serving(self, i: int) -> None:
        """Returns when the coordinator serves."""
        ready = await self.coordinators[i].says("coordinator_ready" if self._processes is None else "processes_ready")
        self.ports[i] = ready["grpc_port"]
        self.coordinators[i].environ["GRPC_PORT"] = str(self.ports[i])

    async def online(self, *agent_ids: str) -> None:
        """Returns when the agents have open sessions."""
        await until(lambda: all(self.at(a) is not None for a in agent_ids), f"{agent_ids} are not online")

    async def new_life(self) -> dict[int, float]:
        """When coordinators that lived noticed the last start of the store, and ended all sessions (s since 1970)."""
        noticed = {}
        for i, (pid, times) in self._to_notice.items():
            if self.coordinators[i].running and self.coordinators[i].pid == pid:
                line = await self.coordinators[i].says("store_new_life", times=times)
                noticed[i] = datetime.fromisoformat(line["timestamp"]).timestamp()
        return noticed

    def at(self, agent_id: str, since: Mapping[int, float] = NO_TIMES) -> int | None:
        """Which coordinator holds the session of the agent's present life; None when none that lives does.

        `since` are times (s) of coordinators: an older session is none.
        """
        with self.store.client() as redis:
            fields = ["state", "at", "connected", "epoch"]
            state, where, connected, epoch = redis.hmget(f"{AGENT_KEY}{agent_id}", fields)
        pid = int(where.rpartition(":")[2]) if where and state == "open" else -1
        i = next((i for i in range(len(self.coordinators)) if pid in self.pids(i)), None)
        began = self.agents[agent_id].started_at if agent_id in self.agents else 0.0
        if i is None or float(connected) / 1000 < began:
            return None
        return i if i not in since or self._opened(i, agent_id, int(epoch)) >= since[i] else None

    def _opened(self, i: int, agent_id: str, epoch: int) -> float:
        """When the coordinator said that it had opened this session (s since 1970); it began to open it before that."""
        told = self.coordinators[i].events("session_opened", agent_id=agent_id, epoch=epoch)
        return datetime.fromisoformat(told[-1]["timestamp"]).timestamp() if told else 0.0

    def pids(self, i: int) -> dict[int, int]:
        """The processes of a coordinator that serve: pid, and which of several it is (0 where it is one)."""
        coordinator = self.coordinators[i]
        if not coordinator.running:
            return {}
        if self._processes is None:
            return {coordinator.pid: 0}
        started = {line["pid"]: line["process"] for line in coordinator.events("process_started")}
        return {pid: place for pid, place in started.items() if alive(pid)}

    # Clients.

    def address(self, i: int) -> str:
        """Where a coordinator serves gRPC."""
        return f"127.0.0.1:{self.ports[i]}"

    def client(self, *order: int) -> AsyncClient:
        """A client of these coordinators, the first one preferred; of all when none is named."""
        return AsyncClient(",".join(self.address(i) for i in order or range(len(self.ports))))

    # Back to a sound state.

    async def settle(self) -> None:
        """Everything runs, every agent is at home, no device is held back."""
        if self.store_up:
            self.store.resume()
        else:
            self.start_store()
        for i, coordinator in enumerate(self.coordinators):
            coordinator.resume()
            if not coordinator.running:
                coordinator.start()
            await self.serving(i)
        since = await self.new_life()
        for agent in self.agents.values():
            agent.resume()
        await until(
            lambda: self._send_home(since),
            lambda: f"agents are not at home: { {a: self.at(a, since) for a in self.plans} }",
        )
        async with self.client() as client:
            for agent_id in self.plans:  # agents of tests leave devices behind, by the thousand
                async for device in client.devices(agent_id=agent_id):
                    await self._free(client, device.device_id, agent_id, device.state, device.health)

    async def _send_home(self, since: Mapping[int, float]) -> bool:
        """Starts agents again that do not run, or have settled elsewhere; whether all are at home."""
        away = [p.agent_id for p in self.plans.values() if self.at(p.agent_id, since) != p.home]
        for agent in (self.agents[agent_id] for agent_id in away):
            if agent.running and self.at(agent.name, since) is not None:
                await agent.end()
            if not agent.running:
                agent.start()
        return not away

    async def _free(
        self, client: AsyncClient, device_id: str, agent_id: str, state: DeviceState, health: DeviceHealth
    ) -> None:
        held = state in (DeviceState.RESERVED, DeviceState.DRAINING)
        if held or health in (DeviceHealth.BAD, DeviceHealth.MAINTENANCE):
            with contextlib.suppress(ConflictError):  # not reserved
                await client.release(device_id)
            await client.resume(agent_id=agent_id)
            await client.resume(device_id=device_id)

    async def quiet(self, *org_ids: str) -> None:
        """Cancels what is unfinished in the orgs, and returns when no agent of the stack holds anything."""
        async with self.client() as client:
            for org_id in org_ids:
                await client.cancel_many(org_id, statuses=["queued", "scheduled", "running"])

        def leases() -> bool:
            with self.store.client() as redis:
                return not any(redis.keys(f"qg:o:{{{org_id}}}:la:*") for org_id in org_ids)

        await until(leases, "leases are left")


async def all_online(client: AsyncClient) -> bool:
    """Whether every agent known to the fleet is online."""
    return all([agent.state is AgentState.ONLINE async for agent in client.agents()])


def alive(pid: int) -> bool:
    """False for the dead and for zombies."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX" and os.getpid() != pid
