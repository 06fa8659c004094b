"""The composition root: makes the parts, starts them in order, owns the signals, stops them in order."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

import structlog

from qgjob_coordinator.blobs.spool import Spool
from qgjob_coordinator.blobs.store import BlobStore
from qgjob_coordinator.config import Settings, without_secret
from qgjob_coordinator.errors import ConfigError
from qgjob_coordinator.http.api import create_app
from qgjob_coordinator.http.server import HttpServer
from qgjob_coordinator.http.services import DISTRIBUTION, Services
from qgjob_coordinator.loops import hints
from qgjob_coordinator.loops.bonds import Bonds
from qgjob_coordinator.loops.ending_runs import EndingRuns
from qgjob_coordinator.loops.lag import measure_lag
from qgjob_coordinator.loops.old_artifacts import OldArtifacts
from qgjob_coordinator.loops.old_contents import OldContents
from qgjob_coordinator.loops.overflow import Overflow
from qgjob_coordinator.loops.reaper import Reaper
from qgjob_coordinator.loops.retention import Retention
from qgjob_coordinator.loops.scheduler import Scheduler
from qgjob_coordinator.loops.start_check import StartCheck
from qgjob_coordinator.loops.store_watch import StoreWatch
from qgjob_coordinator.loops.timers import Timers
from qgjob_coordinator.loops.unbooked import Unbooked
from qgjob_coordinator.loops.unbuilt import UnbuiltJobs
from qgjob_coordinator.model.artifacts import Bounds
from qgjob_coordinator.parent import until_gone
from qgjob_coordinator.policy.health.rules import Backoff
from qgjob_coordinator.policy.retry import RetryRules
from qgjob_coordinator.policy.snapshot import Limits
from qgjob_coordinator.port_wait import when_free
from qgjob_coordinator.processes.member import Handed, Member
from qgjob_coordinator.rpc.agents import AgentServicer
from qgjob_coordinator.rpc.artifacts import ArtifactServicer
from qgjob_coordinator.rpc.builds import BuildServicer
from qgjob_coordinator.rpc.fleet import FleetServicer
from qgjob_coordinator.rpc.jobs import Context, JobServicer, JobServices
from qgjob_coordinator.rpc.server import RpcServer
from qgjob_coordinator.rpc.suites import SuiteServicer
from qgjob_coordinator.service.agents.messages import RefusedReason
from qgjob_coordinator.service.agents.session import Times
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.calls.artifacts import ArtifactService
from qgjob_coordinator.service.calls.builds import BuildService
from qgjob_coordinator.service.calls.contents import Contents
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.calls.keeping_runs import Keeping
from qgjob_coordinator.service.calls.operating import FleetService
from qgjob_coordinator.service.calls.small_artifacts import SmallArtifactService
from qgjob_coordinator.service.calls.submission import Defaults
from qgjob_coordinator.service.calls.submitting import Submitter
from qgjob_coordinator.service.calls.suites import SuiteService
from qgjob_coordinator.service.calls.tailing import Tailing
from qgjob_coordinator.service.calls.uploads import UploadService
from qgjob_coordinator.service.calls.watching import Watching
from qgjob_coordinator.service.clock import STORE_CLOCK
from qgjob_coordinator.service.fleet import FleetReader
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.service.principal import LOCAL_ADMIN, Principal
from qgjob_coordinator.service.views.diagnosis import Doctor, Self
from qgjob_coordinator.service.views.kept_builds import KeptBuilds
from qgjob_coordinator.service.views.looking_ahead import LookAhead
from qgjob_coordinator.service.views.overview import Overview
from qgjob_coordinator.service.views.pending import Pending
from qgjob_coordinator.service.views.readiness import Readiness
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.tasks import end_tasks
from qgjob_coordinator.telemetry import Telemetry, alone

STOP_GRACE_SECONDS = 5.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")

log = structlog.get_logger(__name__)


async def identify(context: Context) -> Principal:
    """Who calls: until authentication is built, the local administrator."""
    del context
    return LOCAL_ADMIN


class Coordinator:
    """One coordinator process, or one of several on a port when something is `handed` down to it."""

    def __init__(self, settings: Settings, handed: Handed | None = None) -> None:
        self._settings = settings
        self._stop = asyncio.Event()
        self._bound = self._died = False
        self._tasks: list[asyncio.Task[None]] = []
        s = settings
        self.telemetry = Telemetry()
        self._member = None if handed is None else Member(handed, self.telemetry)
        totals = alone(self.telemetry) if self._member is None else self._member.totals
        self.hub = Hub()
        rules = RetryRules(infra_max=s.infra_max_retries)
        self.store = Store(
            s.redis_url,
            pool_size=s.redis_pool_size,
            rules=rules,
            observe=self.telemetry.observe_store,
            clock=STORE_CLOCK,
        )
        self.faults = OrgFaults(self.telemetry, damaged_jobs=self.store.reads.damaged_jobs)
        log_transitions = s.log_level in ("info", "debug")
        name = f"{socket.gethostname()}:{os.getpid()}"
        self.fleet = FleetReader(self.store)
        self.sessions = Sessions(
            self.store,
            self.hub,
            self.telemetry,
            _times(s),
            name,
            log_transitions=log_transitions,
            backoff=Backoff(base_ms=round(s.quarantine_seconds * 1000)),
            fleet=self.fleet,
            faults=self.faults,
        )
        limits = Limits(group_max_devices=s.group_max_devices)
        self.scheduler = Scheduler(
            self.store,
            self.sessions,
            self.hub,
            self.fleet,
            self.telemetry,
            limits,
            s.max_running_per_org,
            s.org_weights,
            faults=self.faults,
            log_transitions=log_transitions,
        )
        self.bonds = Bonds(self.store)
        self.timers = Timers(self.store, self.hub, self.fleet, self.telemetry, self.bonds, self.faults)
        self.sessions.on_retry_due = self.timers.due
        forecast = LookAhead(
            self.store, self.sessions, self.fleet, limits, s.org_weights, s.max_running_per_org, faults=self.faults
        )
        self._forecast = forecast
        self.pending = Pending(
            self.store, self.fleet, s.max_running_per_org, forecast, s.give_up_seconds, faults=self.faults
        )
        self.overview = Overview(self.store, self.fleet, totals, forecast, faults=self.faults)
        self.sessions.settled = self.scheduler.settled
        self.operators = FleetService(self.store, self.fleet, self.sessions, self.hub)
        self.submitter = Submitter(
            self.store,
            self.hub,
            self.telemetry,
            self.pending,
            Defaults(s.default_priority, s.default_target, s.max_retries),
            log_transitions=log_transitions,
        )
        self.start_check = StartCheck(self.store, forecast, self.telemetry, self.faults)
        self.submitter.on_accepted = self.start_check.accepted
        self.jobs = JobService(
            self.store,
            self.hub,
            self.telemetry,
            self.pending,
            self.sessions.revoke,
            log_transitions=log_transitions,
        )
        self.ending_runs = EndingRuns(self.store, self.jobs, self.faults)
        self.hub.runs_to_cancel = self.ending_runs.due
        services = JobServices(
            self.submitter,
            self.jobs,
            self.overview,
            Watching(self.store, self.hub, self.pending),
            Tailing(self.store, self.hub),
            Keeping(self.store),
        )
        try:
            self.blobs = BlobStore(s.blob_url)
        except ValueError as e:
            raise s.wrong("BLOB_URL", str(e)) from e
        spool = Spool(s.blob_spool_dir)
        contents = Contents(self.blobs, spool)
        self.builds = BuildService(self.store, self.hub, contents, s.build_max_mb * 1_000_000)
        self.suites = SuiteService(self.store, contents, s.suite_max_mb * 1_000_000)
        self.artifacts = ArtifactService(self.store, self.blobs, spool, Bounds(s.artifacts_max_mb * 1_000_000))
        self.store_watch = StoreWatch(self.store, self.sessions, without_secret(s.redis_url), s.durability, self._stop)
        self.readiness = Readiness(self.store.check, self._stop.is_set)
        self.doctor = Doctor(
            _self(s, name),
            self.store,
            self.readiness,
            self.fleet,
            self.overview,
            self.sessions,
            self.telemetry,
            KeptBuilds(self.store, self.blobs, self.faults),
            self.faults,
        )
        self.rpc = RpcServer(
            JobServicer(services, identify),
            FleetServicer(self.operators, self.doctor, identify),
            BuildServicer(self.builds, UploadService(self.store), identify),
            ArtifactServicer(self.artifacts, SmallArtifactService(self.artifacts, self.faults), identify),
            SuiteServicer(self.suites, identify),
            AgentServicer(self.sessions),
            self.telemetry,
            shares_port=self._member is not None,
        )
        web = Services(
            submitter=self.submitter,
            jobs=self.jobs,
            fleet=self.operators,
            reader=self.fleet,
            overview=self.overview,
            store=self.store,
            totals=totals,
            readiness=self.readiness,
            doctor=self.doctor,
            faults=self.faults,
            allowed_origins=s.allowed_origins,
        )
        inherited = () if self._member is None else self._member.http
        self.http = HttpServer(create_app(web), s.host, s.port, inherited)

    async def run(self) -> bool:
        """Starts, serves until a signal, stops. False where it was not a signal: a part died. Raises ConfigError."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, self._stop.set)
        s, member = self._settings, self._member
        host, grpc_port = (s.host, s.grpc_port) if member is None else (member.host, member.grpc_port)
        if member is not None:
            await member.open()
            self._spawn("beat", member.beat())
        watch = asyncio.create_task(self._watch_parent(s.parent_pid), name="parent")
        watch.add_done_callback(self._watch_ended)
        self._tasks.append(watch)
        try:
            if not await self._listen(host, grpc_port):
                return not self._died
            self._bound = True
            if host not in LOOPBACK:
                log.warning("not_loopback", host=host, note="whoever reaches this address may use it")
            await self.rpc.set_serving(False)
            if await self.store_watch.ready():
                self._start_loops()
                await self.rpc.set_serving(True)
                log.info("coordinator_ready", host=host, port=self.http.port, grpc_port=self.rpc.port)
                if member is not None:
                    member.serves()
                await self.store_watch.run(self.rpc.set_serving)
        finally:
            await self._shut_down()
        return not self._died

    async def _listen(self, host: str, grpc_port: int) -> bool:
        """False when it is to stop before the ports could be had. Raises ConfigError."""
        try:
            return await when_free(lambda: self.rpc.start(host, grpc_port), self._stop) and await when_free(
                self.http.start, self._stop
            )
        except ConfigError as e:
            raise self._settings.blamed(e) from e

    async def _watch_parent(self, pid: int | None) -> None:
        """A coordinator that belongs to another process ends with it. One of several belongs to their parent."""
        if self._member is not None:
            pid = os.getppid()
            await self._member.listen()
        elif pid is not None:
            await until_gone(pid)
        else:
            return
        log.warning("parent_gone", parent_pid=pid)
        self._stop.set()

    def _start_loops(self) -> None:
        s = self._settings
        receiver = hints.Receiver(self.hub, self.sessions)
        silent, lost = s.session_timeout_seconds, s.give_up_seconds
        reaper = Reaper(self.store, self.hub, self.telemetry, silent, lost, self.faults)
        retention = Retention(self.store, round(s.retention_days * 86_400_000), self.faults)
        self._spawn("scheduler", self.scheduler.run())
        self._spawn("reaper", reaper.run())
        self._spawn("timers", self.timers.run())
        self._spawn("unbooked", Unbooked(self.store, self.sessions, self.faults).run())
        self._spawn("ending_runs", self.ending_runs.run())
        log_transitions = s.log_level in ("info", "debug")
        overflow = Overflow(
            self.store, self.hub, self._forecast, self.telemetry, self.faults, log_transitions=log_transitions
        )
        self._spawn("overflow", overflow.run())
        self._spawn("unbuilt", UnbuiltJobs(self.store, self.hub, self.fleet, self.telemetry, self.faults).run())
        self._spawn("retention", retention.run())
        old_contents = OldContents(self.store, self.blobs, s.build_retention_days * 86_400_000 or None, self.faults)
        self._spawn("old_contents", old_contents.run())
        keep_ms = s.artifact_retention_days * 86_400_000 or None
        old_artifacts = OldArtifacts(self.store, self.blobs, keep_ms, self.faults)
        self._spawn("old_artifacts", old_artifacts.run())
        self._spawn("start_check", self.start_check.run())
        self._spawn("speak", hints.speak(self.hub, self.store))
        self._spawn("hear", hints.hear(self.store, receiver))
        self._spawn("lag", measure_lag(self.telemetry))

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._loop_ended)
        self._tasks.append(task)

    def _loop_ended(self, task: asyncio.Task[None]) -> None:
        """A loop never ends by itself: without it the process would serve and do nothing, so it stops, as failed."""
        if not task.cancelled():
            self._died = True
            log.error("loop_died", loop=task.get_name(), exc_info=task.exception())
            self._stop.set()

    def _watch_ended(self, task: asyncio.Task[None]) -> None:
        """It ends with the parent, or at once where there is none. One that failed would never hear of its end."""
        if not task.cancelled() and task.exception() is not None:
            self._loop_ended(task)

    async def _shut_down(self) -> None:
        """Not serving first, then agents are sent elsewhere, then calls drain, then loops end.

        HTTP goes last of the servers: until then its probe says that this coordinator is stopping.
        """
        await self.rpc.set_serving(False)
        self.sessions.end_all(RefusedReason.GOING_AWAY, "the coordinator stops; connect again")
        await self.rpc.stop(STOP_GRACE_SECONDS)
        await self.http.stop(STOP_GRACE_SECONDS)
        await end_tasks(self._tasks)
        await self._forecast.close()
        await self.store.close()
        await self.blobs.close()
        if self._member is not None:
            await self._member.close()
        if self._bound:
            log.info("coordinator_stopped")


def _times(s: Settings) -> Times:
    return Times(
        heartbeat_ms=round(s.heartbeat_seconds * 1000),
        session_timeout_ms=round(s.session_timeout_seconds * 1000),
        lease_ms=round(s.lease_seconds * 1000),
        kill_grace_ms=round(s.kill_grace_seconds * 1000),
        attempt_timeout_ms=round(s.attempt_timeout_seconds * 1000),
        silence_timeout_ms=round(s.silence_timeout_seconds * 1000),
    )


def _self(s: Settings, name: str) -> Self:
    """What a coordinator says of itself to people who look for what is wrong."""
    return Self(
        name=name,
        version=version(DISTRIBUTION),
        host=s.host,
        exposed=s.host not in LOOPBACK,
        store=without_secret(s.redis_url),
        blobs=s.blob_url,
        durability=s.durability,
        heartbeat_seconds=s.heartbeat_seconds,
        session_timeout_seconds=s.session_timeout_seconds,
        lease_seconds=s.lease_seconds,
    )
