"""Writes a run's history down as it happens: follows the store's event streams, and reads the rest at the end."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from tests.chaos import clock, quarantines, stores
from tests.chaos.faults.coordinators import PROBES
from tests.chaos.history import Beat, Done, Event, History, Master, Opened, Quarantine, Span, Write
from tests.chaos.lab import Lab
from tests.chaos.rules_grants import by_token
from tests.chaos.rules_times import LONG_RUN
from tests.chaos.sessions import Session
from tests.chaos.witness import watch
from tests.chaos.workload import ORGS
from tests.fakes.store_audit import audit
from tests.fakes.store_process import StoreProcess
from tests.fakes.waiting import until

POLL_SECONDS = 0.25
WITNESS_SECONDS = 0.05
BATCH = 500
START = "0-0"
KEPT = 1000
"""Entries of a stream that the store keeps at least."""
Entry = tuple[str, dict[str, str]]
"""Of a stream: its id and its fields."""
LEAST_BY_TOKEN = 0.5
"""Share of the verdicts whose tokens were seen, below which the recorder saw too little to judge by."""
LEAST_BY_TOKEN_OF_A_SHORT_RUN = 0.25
"""The same of a run of which a few failovers take most."""


def place(event_id: str) -> tuple[int, int]:
    """An event id as something that sorts."""
    left, _, right = event_id.partition("-")
    return int(left), int(right)


class Recorder:
    """`events` so far, each with its id in the stream. `follow` runs until it is cancelled."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._cursor = dict.fromkeys((*ORGS, PROBES), START)
        self._events: list[tuple[str, Event]] = []
        self._went_back_times = 0
        self._ended = False
        self._witnessed: list[tuple[int, Write | Opened]] = []
        self._beats: dict[str, list[Beat]] = defaultdict(list)
        self._last: dict[str, Session] = {}
        self._quarantines: dict[tuple[str, int], Quarantine] = {}
        self.done: list[Done] = []
        lab.on_went_back = self._went_back

    async def follow(self) -> None:
        """Reads on, whenever the store answers, until it is cancelled.

        A look into the store may take a cancel for its own timeout: it ends all the same, when it looks the next time.
        """
        witnesses = [self._witness(server) for server in stores.that_run_scripts(self._lab.store)]
        tasks = [asyncio.create_task(work) for work in (self._poll(), *witnesses)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            self._ended = True
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _witness(self, server: StoreProcess) -> None:
        """Also of a server that carries out nothing yet: one that becomes the master is seen from its first call on."""
        while not self._ended:
            with contextlib.suppress(OSError):
                await watch(server.port, partial(self._wrote, server.port))
            await asyncio.sleep(WITNESS_SECONDS)

    def _wrote(self, port: int, seen: Write | Opened) -> None:
        self._witnessed.append((port, replace(seen, at=clock.of_wall(seen.at))))

    async def _poll(self) -> None:
        while not self._ended:
            with contextlib.suppress(*stores.AWAY):
                await self.read()
            self._heard(await self._lab.records() or {})
            self._saw(await quarantines.read(self._lab.redis) or {})
            await self._lab.look_for_ended()
            await self._lab.look_for_switch()
            await asyncio.sleep(POLL_SECONDS)

    def _heard(self, records: dict[str, Session]) -> None:
        """Also for the lab, which knows by it how an agent stood when the store went away."""
        for agent_id, session in records.items():
            if session.serves and self._last.get(agent_id) != session:
                place = self._lab.coordinators[session.place or 0].name
                self._beats[agent_id].append(Beat(clock.of_wall(session.seen), place))
                self._last[agent_id] = session

    def _saw(self, found: quarantines.Found) -> None:
        now = clock.now()
        for device_id, (since, over, reason) in found.items():
            before = self._quarantines.get((device_id, since))
            begin, ends = clock.of_wall(since / 1000), clock.of_wall(over / 1000)
            seen = Span(now if before is None else before.seen.begin, now)
            self._quarantines[device_id, since] = Quarantine(device_id, begin, ends, reason, seen)

    async def read(self) -> None:
        """Takes what is new in all streams. Raises what stores.AWAY names."""
        for org_id in self._cursor:
            while await self._read_some(org_id):
                pass

    async def _read_some(self, org_id: str) -> bool:
        cursor, times = self._cursor[org_id], self._went_back_times
        entries = await self._lab.redis.xrange(_stream(org_id), f"({cursor}", "+", BATCH)
        if cursor != START and entries:
            await self._missed(org_id, cursor)
        if not entries or times != self._went_back_times:  # the store went back meanwhile
            return False
        self._take(org_id, entries)
        self._cursor[org_id] = entries[-1][0]
        return True

    async def _missed(self, org_id: str, cursor: str) -> None:
        """A recorder that was too slow has holes in its history, and must not judge by it."""
        first = await self._lab.redis.xrange(_stream(org_id), "-", "+", 1)
        if first and place(first[0][0]) > place(cursor):
            text = f"events of {org_id} after {cursor} were trimmed before they were read"
            self._lab.trouble("recorder", text)

    async def _went_back(self, back_to: float) -> None:
        """What the store no longer knows did not happen: the events since then are those that it has now.

        Two servers number their events by their clocks: one that took over may have had some before the last of the
        old one's that were read, and they come only now. Of those before it went back some may not have been read yet.
        """
        since = f"{max(0, int(clock.wall(back_to) * 1000))}-0"
        self._went_back_times += 1
        for org_id in self._cursor:
            first = min(since, self._cursor[org_id], key=place)
            there = await self._since(org_id, first)
            self._events = [(i, e) for i, e in self._events if e.org_id != org_id or place(i) < place(first)]
            self._take(org_id, there)
            self._cursor[org_id] = max((i for i, e in self._events if e.org_id == org_id), key=place, default=START)

    def _take(self, org_id: str, entries: Sequence[Entry]) -> None:
        self._events += [(event_id, e) for event_id, fields in entries for e in _parse(org_id, event_id, fields["e"])]

    async def _since(self, org_id: str, first: str) -> list[Entry]:
        """The entries of a stream from an id on, asked for until the store answers. Raises AssertionError."""
        found: list[list[Entry]] = []

        async def look() -> bool:
            with contextlib.suppress(*stores.AWAY):
                found.append(await self._lab.redis.xrange(_stream(org_id), first, "+"))
            return bool(found)

        await until(look, f"the store does not say what it still knows of {org_id}")
        return found[0]

    async def finish(self, history: History) -> None:
        """Adds all that is read at the end. Raises errors of client and store: the lab is healed by then."""
        await self.read()
        lab = self._lab
        async with lab.client() as client:
            for org_id in self._cursor:
                jobs = [job async for job in client.list(org_id, page_size=1000)]
                history.listed[org_id] = [job.job_id for job in jobs]
                history.jobs |= {job.job_id: job for job in jobs}
        history.events = [event for _, event in self._events]
        seen = by_masters(self._witnessed, lab.masters)
        history.writes = [each for each in seen if isinstance(each, Write)]
        history.opened = [each for each in seen if isinstance(each, Opened)]
        self._blind(history)
        history.runs = lab.truth.runs()
        history.done = self.done
        history.beats = dict(self._beats)
        history.quarantines = list(self._quarantines.values())
        history.outages, history.cuts = lab.outages, lab.cuts
        lab.read_logs()
        history.troubles = lab.troubles
        history.boot = clock.wall(0.0)
        history.simulated = frozenset(a for a, plan in lab.plans.items() if plan.runner == "simulated")
        with lab.store.client() as raw:
            history.audit = audit(raw)
        history.span = Span(history.span.begin, clock.now())

    def _blind(self, history: History) -> None:
        """A recorder that saw few tokens must not vouch for the rest."""
        judged, verdicts = by_token(history)
        long = clock.now() - history.span.begin >= LONG_RUN * history.scale.lease
        if judged < (LEAST_BY_TOKEN if long else LEAST_BY_TOKEN_OF_A_SHORT_RUN) * verdicts:
            text = f"the tokens of {judged} of {verdicts} verdicts were seen"
            self._lab.trouble("recorder", text)


def by_masters(seen: Sequence[tuple[int, Write | Opened]], masters: Sequence[Master]) -> list[Write | Opened]:
    """What was seen at the server that was the master then; all, where no Sentinels say which one is.

    One that wakes up, or is told to hand over, takes itself for the master a while longer: that is gone with it.
    """
    found = []
    for port, each in seen:
        i = bisect_right(masters, each.at, key=lambda master: master.since)
        if not masters or masters[max(0, i - 1)].port == port:
            found.append(each)
    return found


def _stream(org_id: str) -> str:
    return f"qg:o:{{{org_id}}}:ev"


def _parse(org_id: str, event_id: str, text: str) -> list[Event]:
    found = []
    for line in text.split("\n"):
        ulid, version, letter, attempt, outcome, device, agent = line.split(" ")
        found.append(
            Event(
                job_id=f"{org_id}~{ulid}",
                version=int(version),
                letter=letter,
                outcome=None if outcome == "-" else outcome,
                at=clock.of_wall(place(event_id)[0] / 1000),
                org_id=org_id,
                attempt=int(attempt),
                device_id=None if device == "-" else device,
                agent_id=None if agent == "-" else agent,
            )
        )
    return found
