"""The system under test: real processes, with links between them that can be made bad.

    async with Lab(folder, Scale()) as lab: ...

A store, three coordinators, two agents with simulated tests and two with shell tests. Each coordinator has a link to
the store, each agent a link to each coordinator, and so have the clients. What is away is written down as it goes and
comes back, so that the checker knows what to expect of the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

from bench.processes import ROOT
from qgjob import AsyncClient
from tests.chaos import clock, net_space, programs, small_disks, stores
from tests.chaos.history import MACHINE, Cut, Master, Outage, Span
from tests.chaos.ledger import Ledger
from tests.chaos.links import Link
from tests.chaos.machine import Machine
from tests.chaos.net_space import NetSpace
from tests.chaos.repeats import RespRepeats
from tests.chaos.scale import Scale
from tests.chaos.schedule import Form
from tests.chaos.sessions import Mark, Session
from tests.chaos.truth import Truth
from tests.fakes.program import Program, processes_of
from tests.fakes.stack import AGENT_KEY, AgentPlan, Stack
from tests.fakes.waiting import until

COORDINATORS = 3
FLEET = (
    AgentPlan("sim-1", 4, "emulator", home=0),
    AgentPlan("sim-2", 4, "emulator", home=1),
    AgentPlan("cmd-1", 4, "device", home=2, runner="command"),
    AgentPlan("cmd-2", 4, "device", home=0, runner="command"),
)
SPACED = "cmd-2"
"""The agent with a network of its own, where there can be one."""
BREAKABLE = tuple(f"{p.agent_id}-{n}" for p in FLEET if p.runner == "command" for n in range(1, p.devices + 1))
"""Devices whose tests need a shell, which can be taken away."""
CLIENTS = "clients"
STORE = "store"
PROGRAM_SECONDS = 90.0
"""How long a program may take to start on a machine that others use too."""
MIN_FREE_MB = 2
"""Of an agent's disk, below which it takes no new work; its disk here is small_disks.STATE_MIB."""
QUARANTINE_SECONDS = 10.0
"""The first quarantine of a device, as shipped."""
SESSION_FIELDS = ("state", "at", "epoch", "counter", "seen")


class Lab(Stack, Ledger):
    """See the module. `lua`: a folder of scripts that the coordinators take instead of their own."""

    def __init__(self, folder: Path, scale: Scale, *, lua: Path | None = None, form: Form = Form.ONE) -> None:
        store = stores.made(form, folder / STORE)
        Stack.__init__(self, folder, coordinators=COORDINATORS, agents=FLEET, times=scale.times, store=store)
        Ledger.__init__(self)
        self.form = form
        self.scale = scale
        self.truth = Truth(folder / "truth", BREAKABLE)
        self.store_link = [Link(RespRepeats) for _ in self.coordinators] if form is Form.ONE else []
        self.agent_links = {a: [Link() for _ in self.coordinators] for a in self.plans}
        self.space = NetSpace() if net_space.missing() is None else None
        if self.space is not None:
            self.agent_links[SPACED] = [Link(host=self.space.host) for _ in self.coordinators]
        self.client_links = [Link() for _ in self.coordinators]
        self.on_went_back: Callable[[float], Awaitable[None]] | None = None
        self.store_lock = asyncio.Lock()
        self._machine = Machine(self.outages)
        self._master = ("", 0.0)
        self.masters: list[Master] = []
        """With Sentinels: those that the lab saw, by time."""
        self._told_to_switch: float | None = None
        self._records: dict[str, Session] = {}
        self._resources = AsyncExitStack()
        own = {programs.SCALE_VARIABLE: scale.factor, "PYTHONPATH": ":".join(_python_path())}
        lua_set = {} if lua is None else {programs.LUA_VARIABLE: lua}
        self.clocks = {c.name: folder / f"{c.name}.clock" for c in self.coordinators}
        self.coordinators = [
            Program(
                c.name,
                "tests.chaos.programs",
                c.folder,
                own | lua_set | {programs.CLOCK_VARIABLE: self.clocks[c.name]},
                ("coordinator",),
            )
            for c in self.coordinators
        ]
        self.agents = {a: Program(a, "tests.chaos.programs", p.folder, own, ("agent",)) for a, p in self.agents.items()}
        if self.space is not None:
            self.agents[SPACED].prefix = self.space.prefix
        for program in (*self.coordinators, *self.agents.values()):
            program.patience_seconds = PROGRAM_SECONDS

    # Beginning and end.

    async def __aenter__(self) -> Self:
        self._machine.start()
        try:
            await self.start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.stop()
        finally:
            self._machine.stop()
            await self._resources.aclose()

    async def start(self) -> None:
        """Returns when everything serves."""
        for name in self.clocks:
            self.set_clock(name, 0)
        small = small_disks.missing() is None
        if small and self.form is Form.ONE:
            self._small_disk(self.store_folder, small_disks.STORE_MIB)
        await asyncio.to_thread(self.start_store)
        self.redis: Any = await self._resources.enter_async_context(stores.looking(self.store))
        if self.space is not None:
            self._resources.enter_context(self.space.made())
        links = [*self.store_link, *self.client_links, *(x for each in self.agent_links.values() for x in each)]
        for link in links:
            await self._resources.enter_async_context(link)
        for i, coordinator in enumerate(self.coordinators):
            coordinator.start(**self.coordinator_settings() | self._way_to_store(i))
        for i in range(len(self.coordinators)):
            await self.serving(i)
            for link in (self.client_links[i], *(each[i] for each in self.agent_links.values())):
                link.to(self.ports[i])
        for agent in self.agents.values():
            if small:
                self._small_disk(agent.folder / "state", small_disks.STATE_MIB)
            agent.start(**self.agent_settings(self.plans[agent.name]))
        await self.online(*self.agents)

    def coordinator_settings(self) -> dict[str, object]:
        """As a stack's, with quarantines scaled as all times are."""
        return super().coordinator_settings() | {"QUARANTINE_SECONDS": QUARANTINE_SECONDS * self.scale.factor}

    def _way_to_store(self, i: int) -> dict[str, object]:
        """What a coordinator's settings say of the store: over its link, where it has one."""
        if not self.store_link:
            return {}
        self.store_link[i].to(self.store.processes[0].port)
        return {"REDIS_URL": f"redis://127.0.0.1:{self.store_link[i].port}"}

    def _small_disk(self, folder: Path, mib: int) -> None:
        small_disks.mount(folder, mib)
        self._resources.callback(small_disks.unmount, folder)

    def agent_settings(self, plan: AgentPlan) -> dict[str, object]:
        """As a stack's, over this agent's links, and with tests that write down the truth."""
        ports = [link.port for link in self.agent_links[plan.agent_id]]
        ports = ports[plan.home :] + ports[: plan.home]
        host = self.space.host if plan.agent_id == SPACED and self.space is not None else "127.0.0.1"
        return super().agent_settings(plan) | {
            "QGJOB_COORDINATOR": ",".join(f"{host}:{port}" for port in ports),
            "COMMAND_ARGV": self.truth.argv,
            "SIMULATED_TEST_SECONDS": "0.1,1.0",
            "SIMULATED_INSTALL_SECONDS": 0.1,
            "MIN_FREE_MB": MIN_FREE_MB,
        }

    def client(self, *order: int, timeout_seconds: float = 30.0) -> AsyncClient:
        """A client over the clients' links, the first coordinator preferred."""
        links = [self.client_links[i] for i in order or range(len(self.client_links))]
        addresses = ",".join(f"127.0.0.1:{link.port}" for link in links)
        return AsyncClient(addresses, timeout_seconds=timeout_seconds)

    def index_of(self, address: str) -> int:
        """Of the coordinator behind the clients' link with this address. Raises ValueError for another one."""
        return [f"127.0.0.1:{link.port}" for link in self.client_links].index(address)

    @property
    def store_folder(self) -> Path:
        """Where the store writes."""
        return self.folder / "store"

    @property
    def others(self) -> tuple[str, ...]:
        """All places whose outage may keep clients and agents from being served."""
        names = [c.name for c in self.coordinators]
        return (MACHINE, STORE, CLIENTS, *names, *(f"store link {name}" for name in names))

    # What is not as it was.

    async def look_for_ended(self) -> None:
        """Writes down what ended unasked, the store too, and starts it again."""
        for server in self.store.processes:
            if server.ended and not self.is_meant(STORE):
                self.ended(STORE, server)
                await asyncio.to_thread(server.start)
        for program in (*self.coordinators, *self.agents.values()):
            if not program.running and not self.is_meant(program.name):
                self.ended(program.name, program)
                program.start()

    @asynccontextmanager
    async def two_masters(self, *, told: bool = False) -> AsyncIterator[None]:
        """Another server takes itself for the master, and may write for nobody until the block ends: for who asks it.

        `told`: the master was told to hand over, and has its copies until it does. What it took before is gone, if at
        all, with the switch that look_for_switch finds.
        """
        begin = clock.now()
        self._told_to_switch = begin if told else None
        try:
            yield
        finally:
            self._told_to_switch = None
            self.cuts.append(Cut(begin, clock.now(), until=clock.now(), by_another=True))

    async def look_for_switch(self) -> bool:
        """Whether the store answers. That another master does, wanted or not, is written down, and what may be gone."""
        if self.form is not Form.SENTINEL:
            return True
        try:
            found = await self.redis.info("server", "replication")
        except stores.AWAY:
            return False
        if found["role"] != "master":  # it answers what is only read, and is not what anybody else asks
            await self.redis.connection_pool.disconnect()
            return False
        run_id, (before, seen) = found["run_id"], self._master
        self._master = (run_id, clock.now())
        if before != run_id:
            self.masters.append(Master(clock.now(), int(found["tcp_port"])))
        if before not in ("", run_id):
            back_to = (seen if self._told_to_switch is None else self._told_to_switch) - stores.NOT_COPIED_SECONDS
            self.cuts.append(Cut(back_to, clock.now(), until=clock.now()))
            self.outages.append(Outage(STORE, Span(seen, clock.now())))
            await self.went_back(back_to)
        return True

    def read_logs(self) -> None:
        """Writes down what programs said of faults of their own."""
        for program in (*self.coordinators, *self.agents.values()):
            self.read_log(program.name, program.folder / f"{program.name}.log")

    # What the store says, which may be away: no answer is None.

    async def records(self) -> dict[str, Session] | None:
        """What the store has of each agent's session, open or not."""
        pids = {c.pid: i for i, c in enumerate(self.coordinators) if c.running}
        cuts, found = len(self.cuts), {}
        try:
            for agent_id in self.plans:
                found_now = await self.redis.hmget(f"{AGENT_KEY}{agent_id}", SESSION_FIELDS)
                state, where, epoch, counter, seen = found_now
                if state is not None:
                    place = pids.get(int(where.rpartition(":")[2]))
                    found[agent_id] = Session(state, place, int(epoch), int(counter), cuts, int(seen) / 1000)
        except stores.AWAY:
            return None
        self._records = found
        return found

    async def sessions(self) -> dict[str, Session] | None:
        """Agents with an open session at a coordinator that lives."""
        records = await self.records()
        return None if records is None else {a: session for a, session in records.items() if session.serves}

    async def mark(self, agent_id: str) -> Mark:
        """What the store has of an agent's session now, or had when it was last there: news are measured by it."""
        await self.records()
        return Mark(self._records.get(agent_id))

    async def held_by(self, i: int) -> dict[str, Mark]:
        """The agents whose sessions the coordinator has, or had when the store was last there."""
        await self.records()
        return {a: Mark(session) for a, session in self._records.items() if session.serves and session.place == i}

    async def leases(self, agent_id: str) -> dict[str, tuple[int, bool]] | None:
        """Jobs with a lease of the agent that counts: epoch, and whether the job is running by it."""
        found = {}
        try:
            for org_id in await self.redis.smembers("qg:f:{fleet}:orgs"):
                prefix = f"qg:o:{{{org_id}}}:"
                for ulid in await self.redis.smembers(f"{prefix}la:{agent_id}"):
                    lease, status, revoked = await self.redis.hmget(f"{prefix}j:{ulid}", ["l", "s", "rv"])
                    if lease and status in ("s", "r") and revoked is None and lease.split(" ")[2] == agent_id:
                        found[f"{org_id}~{ulid}"] = (int(lease.split(" ")[0]), status == "r")
        except stores.AWAY:
            return None
        return found

    async def tell_store(self, *command: object) -> None:
        """A command to a store that runs; a busy machine may need several tries. Raises AssertionError."""

        async def told() -> bool:
            with contextlib.suppress(*stores.AWAY):
                await self.redis.execute_command(*command)
                return True
            return False

        await until(told, f"the store does not take {command}")

    async def store_writes_no_new_file(self) -> None:
        """Waits until it appends to the file that it will go on appending to. Raises AssertionError."""

        async def look() -> bool:
            with contextlib.suppress(*stores.AWAY):
                return not (await self.redis.info("persistence"))["aof_rewrite_in_progress"]
            return False

        await until(look, "the store does not end rewriting its file")

    async def went_back(self, back_to: float) -> None:
        """The store runs without what it took since then, or without some of it; others may write to it again."""
        if self.on_went_back is not None:
            await self.on_went_back(back_to)

    def set_clock(self, name: str, seconds: int) -> None:
        """The wall clock of a coordinator is wrong by so much from now on."""
        new = self.clocks[name].with_suffix(".new")
        new.write_text(str(seconds))
        new.replace(self.clocks[name])  # which is read at any time

    # Back to a sound state.

    async def heal(self) -> None:
        """Everything runs and is connected again; whatever a fault left is undone."""
        for link in (*self.store_link, *self.client_links, *(x for each in self.agent_links.values() for x in each)):
            link.heal()
        for device_id in BREAKABLE:
            self.truth.mend(device_id)
        for name in self.clocks:
            self.set_clock(name, 0)
        for server in self.store.processes:
            if server.ended or not server.running:
                await asyncio.to_thread(server.start)
            else:
                server.resume()
        for program in (*self.coordinators, *self.agents.values()):
            program.resume()
            if not program.running:
                program.start()
        for i in range(len(self.coordinators)):
            await self.serving(i)

    def processes_of_agent(self, agent_id: str) -> dict[int, str]:
        """The daemon, its supervisors and their tests."""
        return processes_of(self.folder / agent_id)


def _python_path() -> list[str]:
    return [str(ROOT), *(str(ROOT / part) for part in ("coordinator", "agent", "client", "proto/generated"))]
