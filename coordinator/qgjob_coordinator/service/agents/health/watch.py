"""Judges the devices of one session by what comes of their work: takes bad ones out, probes them, lets them in again.

What happens is noted without waiting and worked off by one task, which lives while there is something to do. Of a
proven device without failures a test that passes costs a look-up in a set, and nobody is asked for anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import structlog

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.model.enums import Charge, DeviceHealth, Outcome, Target
from qgjob_coordinator.model.failures import charge_of
from qgjob_coordinator.policy.health import record as records
from qgjob_coordinator.policy.health.hosts import against, unstarted, worth_telling
from qgjob_coordinator.policy.health.judging import judge
from qgjob_coordinator.policy.health.record import Kind, Mark, Record
from qgjob_coordinator.policy.health.rules import LONGEST_INSTALL_MS, Backoff, at_most, enough
from qgjob_coordinator.policy.health.words import because, because_of_host, still
from qgjob_coordinator.service.agents.health.books import EndedBy, HealthBooks, Page
from qgjob_coordinator.service.agents.health.seen import FleetHealth, Seen, ask
from qgjob_coordinator.service.agents.health.words import HealthWords
from qgjob_coordinator.service.agents.messages import FinishedReport, Installed, Probe
from qgjob_coordinator.service.agents.session import Session
from qgjob_coordinator.service.agents.slots import Lease
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.sight import Sight
from qgjob_coordinator.store.fleet import DeviceRow
from qgjob_coordinator.store.health import KeptWord
from qgjob_coordinator.store.names import LETTER_TARGET
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.telemetry import Telemetry

GATHER_SECONDS = 0.05
"""What comes within so long is worked off together."""
PAUSE_SECONDS = 1.0
"""How long successes wait to be written, open questions to be asked again, and a busy device to be probed."""
LONGEST_SECONDS = 5.0

log = structlog.get_logger(__name__)


class HealthWatch:
    """One session's. `take_back` takes back what held devices have not begun."""

    def __init__(
        self,
        session: Session,
        store: Store,
        fleet: FleetHealth,
        hub: Hub,
        telemetry: Telemetry,
        backoff: Backoff,
        take_back: Callable[[], None],
        faults: OrgFaults,
    ) -> None:
        self._session = session
        self._store = store
        self._fleet = fleet
        self._hub = hub
        self._backoff = backoff
        self._take_back = take_back
        self._faults = faults
        self._words = HealthWords(session.agent_id, telemetry)
        self._sight = Sight("health_blind", log, agent_id=session.agent_id)
        self._books = HealthBooks(session.slots)
        self._inbox: list[tuple[str, Mark | Kind | Target]] = []
        self._answers: list[tuple[str, str | None]] = []  # device, and what its probe found wrong
        self._probing: dict[str, float] = {}  # until when an answer is in time
        self._failed_installs: dict[str, tuple[Mark, str]] = {}  # by token, until its end says whether it counts
        self._unstarted: set[Target] = set()  # some job could not be started there, and none that ran was noted since
        self._asked_at = float("-inf")
        self._started = self._closing = self._over = False
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def idle(self) -> bool:
        """There is nothing to work off, nor to wait for."""
        return self._task is None

    def start(self) -> None:
        """The agent is welcome and what it holds is known: from now on its devices may be judged and probed."""
        self._started = True
        self._begin()

    # What happens.

    def know(self, rows: Iterable[DeviceRow]) -> None:
        """What the store has of the session's devices."""
        for device_id, who in self._books.know(rows).items():
            self._probing.pop(device_id, None)
            self._words.readmitted(device_id, who, counted=who is EndedBy.HAND)
            self._hub.work("", local=False)
        notable = self._books.notable().values()
        self._unstarted |= {_target(m.build[1]) for m in unstarted(p.record for p in notable)}
        if len(self._books) > len(self._session.slots) or any(p.record.marks or p.record.quarantine for p in notable):
            self._begin()

    def installed(self, m: Installed) -> None:
        """An installation was done or failed. One that failed counts when its attempt ends by it."""
        lease = self._session.leases.get(m.token)
        if m.ok:
            if m.device_id not in self._books.clean:
                self._note(m.device_id, Kind.INSTALL)
        elif lease is not None:
            begun = wall_ms() - min(m.install_ms, LONGEST_INSTALL_MS)
            mark = Mark(Kind.INSTALL, (lease.org_id, lease.gid), lease.ulid, begun)
            self._failed_installs[m.token] = mark, m.app_version_id

    def ended(self, lease: Lease, x: FinishedReport, *, tried_again: bool) -> None:
        """An attempt ended with an outcome; `tried_again`: its job has not got its verdict by it."""
        if x.outcome is Outcome.PASSED:
            if lease.device_id not in self._books.clean:
                self._note(lease.device_id, Kind.TEST)
            self._ran(lease)
            return
        failed = self._failed_installs.pop(x.token, None)
        if failed is not None:
            mark, app_version_id = failed
            if not x.unresolvable:  # a build that can't be resolved fails on any device
                self._words.named(mark.build, app_version_id)
                self._note(lease.device_id, mark)
            return
        charge = charge_of(x.outcome, unresolvable=x.unresolvable)
        if charge is Charge.INFRASTRUCTURE:
            if not x.unfetched:  # a coordinator or blob store that is away is no fault of the device
                self.broke(lease, host_unfit=x.host_unfit)
        elif charge is Charge.TEST:
            self._ran(lease)
            if tried_again:
                build = lease.org_id, lease.gid
                self._note(lease.device_id, Mark(Kind.TEST, build, lease.ulid, wall_ms(), sure=False))

    def broke(self, lease: Lease, *, host_unfit: bool = False) -> None:
        """An attempt was ended by an error of its device or provider, or by the loss of the device.

        `host_unfit`: it could not be started on any device of the host that has its target.
        """
        build = lease.org_id, lease.gid
        self._note(lease.device_id, Mark(Kind.DEVICE, build, lease.ulid, wall_ms(), sure=False))
        if host_unfit:
            self._unstarted.add(_target(lease.gid))
            self._note(lease.device_id, Mark(Kind.HOST, build, lease.ulid, wall_ms()))

    def _ran(self, lease: Lease) -> None:
        """An attempt ran to its end on the host, however that was."""
        target = _target(lease.gid)
        if target in self._unstarted:
            self._unstarted.discard(target)
            self._note(lease.device_id, target)

    def probed(self, device_id: str, health: DeviceHealth, reason: str | None) -> None:
        """A probe was answered. An answer that is late, or to no question, changes nothing."""
        asked = self._probing.pop(device_id, None) is not None
        self._words.probed(device_id, health.value, reason, asked=asked)
        if asked:
            well = health is DeviceHealth.GOOD
            self._answers.append((device_id, None if well else reason or f"its agent calls it {health.value}"))
            self._begin()

    def _note(self, device_id: str, what: Mark | Kind | Target) -> None:
        self._inbox.append((device_id, what))
        if self._task is None or isinstance(what, Mark):
            self._begin()

    def _begin(self) -> None:
        self._wake.set()
        if self._task is None and self._started and not (self._closing or self._over):
            self._task = asyncio.create_task(self._run())

    # The task.

    async def _run(self) -> None:
        try:
            while (pause := await self._look()) is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()
        finally:
            self._task = None

    async def _look(self) -> float | None:
        """Works off what there is; seconds until there is more, None when nothing is to come."""
        if not self._closing:
            await asyncio.sleep(GATHER_SECONDS)
        self._wake.clear()
        pause: float | None = PAUSE_SECONDS
        try:
            await self._round()
            self._sight.seen()
            pause = self._pause()
        except StoreUnavailableError as e:
            self._sight.lost(e)
        except Exception:
            log.exception("health_failed", agent_id=self._session.agent_id)
        return None if self._closing or self._over else pause

    def _pause(self) -> float | None:
        dues = [PAUSE_SECONDS] if self._inbox or self._answers else []
        now, monotonic = wall_ms(), time.monotonic()
        if self._unfit():
            dues.append(PAUSE_SECONDS)
        for device_id, page in self._books.notable().items():
            quarantine = page.stored.record.quarantine
            if page.dirty or _may_be_bad(page.record):
                dues.append(PAUSE_SECONDS)
            elif device_id in self._probing:
                dues.append(self._probing[device_id] - monotonic)
            elif quarantine is not None and device_id in self._session.slots:
                due = (quarantine.until - now) / 1000
                dues.append(due if due > 0 else PAUSE_SECONDS)  # over: the device still has something to do
        return min(LONGEST_SECONDS, max(0.0, min(dues))) if dues else None

    async def _round(self) -> None:
        self._take_in(wall_ms())
        await self._ask()
        await self._judge()
        await self._write()
        self._probe()
        self._forget()

    def _take_in(self, now: int) -> None:
        """What was noted, and what probes found, goes into the records."""
        inbox, self._inbox = self._inbox, []
        for device_id, what in inbox:
            self._books.note(device_id, what, now)
        self._give_probes_up()
        answers, self._answers = self._answers, []
        for device_id, found in answers:
            self._take_answer(device_id, found, now)
        for device_id, page in self._books.notable().items():
            page.record = records.recent(page.record, now)
            self._books.show(device_id)
        for token in self._failed_installs.keys() - self._session.leases.keys():
            del self._failed_installs[token]

    def _give_probes_up(self) -> None:
        monotonic = time.monotonic()
        for device_id in [d for d, at in self._probing.items() if at <= monotonic]:
            del self._probing[device_id]
            self._words.probed(device_id, "no answer", None, asked=True)
            within = self._session.times.session_timeout_ms / 1000
            self._answers.append((device_id, f"no answer within {within:g} s"))

    def _take_answer(self, device_id: str, found: str | None, now: int) -> None:
        page = self._books.page(device_id)
        quarantine = page.record.quarantine if page is not None else None
        if page is None or quarantine is None:
            return
        if found is None:
            page.record = records.readmitted(page.record)
        else:
            self._take_out(page, now, lambda in_a_row: still(quarantine.reason, found, in_a_row))

    def _take_out(self, page: Page, now: int, why: Callable[[int], str]) -> None:
        in_a_row = self._backoff.next_in_a_row(page.record.in_a_row)
        until = now + self._backoff.ms(in_a_row)
        page.record = records.quarantined(page.record, in_a_row, now, until, why(in_a_row))

    async def _ask(self) -> None:
        """Asks for jobs that failed, where what became of them may make a difference."""
        if time.monotonic() - self._asked_at < PAUSE_SECONDS:
            return
        pages = {d: page for d, page in self._books.notable().items() if _may_be_bad(page.record)}
        for of_host in self._unfit().values():
            pages |= {d: page for d, page in of_host.items() if unstarted([page.record])}
        if pages and await ask(self._store, pages, self._faults):
            self._asked_at = time.monotonic()
        for page in self._books.notable().values():
            page.record = records.bounded(page.record)

    async def _judge(self) -> None:
        """Takes out what is bad in comparison with the fleet."""
        pages = self._books.notable()
        of_devices = any(_may_be_bad(records.only_sure(page.record)) for page in pages.values())
        if not of_devices and not self._unfit():
            return
        fleet, now = await self._fleet.look(pages), wall_ms()
        self._judge_host(fleet, now)
        seen = {device_id: page.record for device_id, page in pages.items()}
        for device_id, page in self._books.notable().items():
            slot, record = self._session.slots.get(device_id), seen.get(device_id)
            if slot is None or record is not page.record or not _may_be_bad(records.only_sure(record)):
                continue
            others = fleet.others(slot.info.target, device_id, record)
            found = judge(record, others, now, page.failed_at)
            for build in found.builds_at_fault:
                self._words.at_fault(build, others.failing(build) + 1)
            if found.bad:
                self._take_out(page, now, lambda in_a_row, counted=found.counted: because(counted, in_a_row))  # type: ignore[misc]

    def _in_service(self, target: Target) -> dict[str, Page]:
        """Of the devices of a target that are shown and not quarantined."""
        shown = [device_id for device_id, slot in self._session.slots.items() if slot.info.target is target]
        pages = {device_id: self._books.page(device_id) for device_id in shown}
        return {d: page for d, page in pages.items() if page is not None and page.record.quarantine is None}

    def _unfit(self) -> dict[Target, dict[str, Page]]:
        """Devices for whose target all that could not be started would be enough, whosever fault it is."""
        some = {target: self._in_service(target) for target in self._unstarted}
        return {target: pages for target, pages in some.items() if worth_telling(p.record for p in pages.values())}

    def _judge_host(self, fleet: Seen, now: int) -> None:
        """Takes out all devices of a target where nothing can be started on any. What runs on others says nothing."""
        agent_id = self._session.agent_id
        for target, pages in self._unfit().items():
            jobs = against([page.record for page in pages.values()], fleet.other_hosts(agent_id, target), now)
            for page in pages.values() if jobs else ():
                self._take_out(page, now, lambda in_a_row, jobs=jobs: because_of_host(agent_id, jobs, in_a_row))  # type: ignore[misc]

    async def _write(self) -> None:
        rows = self._books.sending()
        if not rows:
            return
        words = await self._store.health.write(self._session.agent_id, self._session.epoch, rows)
        if words is None:
            self._over = True  # a newer session took over, and judges from now on
            return
        for device_id, word in words.items():
            if word is KeptWord.CHANGED:
                self._books.outdate(device_id)
            elif (change := self._books.written(device_id)) is not None:
                self._tell(device_id, *change)
        if KeptWord.CHANGED in words.values():
            for agent in await self._store.fleet.read([self._session.agent_id]):
                self.know(agent.devices)
            self._books.drop_outdated()

    def _tell(self, device_id: str, before: Record, after: Record) -> None:
        self._words.changed(device_id, before, after)
        if after.quarantine is not None and before.quarantine is None:
            self._take_back()
        elif after.quarantine is None and before.quarantine is not None:
            self._hub.work("", local=False)

    def _probe(self) -> None:
        """Asks for a look at those whose time is over and that have nothing to do."""
        now = wall_ms()
        for device_id, page in self._books.notable().items():
            quarantine, slot = page.stored.record.quarantine, self._session.slots.get(device_id)
            if quarantine is None or page.dirty or quarantine.until > now or device_id in self._probing:
                continue
            if slot is not None and not slot.leases and not slot.strays:
                self._probing[device_id] = time.monotonic() + self._session.times.session_timeout_ms / 1000
                self._session.say(Probe(device_id))

    def _forget(self) -> None:
        """Drops what is known of devices that are gone, once nothing of them is still to come, and of old builds."""
        self._books.prune({lease.device_id for lease in self._session.leases.values()} | {d for d, _ in self._inbox})
        noted = {what.build for _, what in self._inbox if isinstance(what, Mark)}
        self._words.keep(self._books.builds() | noted)

    async def close(self) -> None:
        """Stops when what was noted is written, unless the store is away."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        elif self._inbox and not self._over:
            await self._look()


def _target(gid: str) -> Target:
    return LETTER_TARGET[gid[0]]


def _may_be_bad(record: Record) -> bool:
    """Whether all failures together would be enough, whosever fault they are."""
    return record.quarantine is None and at_most(record) >= enough(record)
