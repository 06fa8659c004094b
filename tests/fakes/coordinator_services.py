"""A coordinator in memory: the real gRPC services over dicts, with the faults that a test asks for.

It keeps what the contract says of the answers, and none of the rules for scheduling: a test moves jobs on by `move`.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio

from qgjob_proto.v1 import fleet_pb2, fleet_pb2_grpc, jobs_pb2, jobs_pb2_grpc, types_pb2
from tests.fakes.coordinator_fleet import FakeFleet, RefusalError

FINAL = (types_pb2.JOB_STATUS_COMPLETED, types_pb2.JOB_STATUS_FAILED, types_pb2.JOB_STATUS_CANCELLED)
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_STATUS_WORDS = {number: name.removeprefix("JOB_STATUS_").lower() for name, number in types_pb2.JobStatus.items()}


@dataclass
class Fault:
    """Fails one call of `method`: before it has its effect, or after it, as if the reply were lost.

    With `refused` the call is invalid, and that is the field to blame.
    """

    method: str
    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    after_effect: bool = False
    refused: str | None = None


@dataclass
class FakeCoordinator(FakeFleet, jobs_pb2_grpc.JobServiceServicer, fleet_pb2_grpc.FleetServiceServicer):
    """State and services. `calls` counts the calls by method; `requests` keeps them."""

    jobs: dict[str, types_pb2.Job] = field(default_factory=dict)
    devices: dict[str, types_pb2.Device] = field(default_factory=dict)
    agents: dict[str, types_pb2.Agent] = field(default_factory=dict)
    diagnosis: fleet_pb2.DiagnoseResponse = field(default_factory=fleet_pb2.DiagnoseResponse)
    logs: dict[tuple[str, int], bytes] = field(default_factory=dict)
    skipped: dict[tuple[str, int], int] = field(default_factory=dict)
    """How many bytes before the begin of a log are not in it."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    events: list[types_pb2.Job] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    on_submit: Callable[[types_pb2.Job], None] | None = None
    cut_watch_after: list[int] = field(default_factory=list)
    first_cursor: int = 0
    most_shown: int = 1000
    hold: asyncio.Event | None = None
    address: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    serving: bool = True
    left_runs: set[str] = field(default_factory=set)
    """Runs that a cancel left no job in."""
    loop: asyncio.AbstractEventLoop | None = None

    def __post_init__(self) -> None:
        self._alike: defaultdict[tuple[str, str, str], list[types_pb2.Job]] = defaultdict(list)
        self.changed = asyncio.Event()
        self.asked = asyncio.Event()
        self.watch_ended = asyncio.Event()

    @property
    def calls(self) -> Counter[str]:
        return Counter(method for method, _ in self.requests)

    def note(self, method: str, request: Any) -> None:
        """A call came."""
        self.requests.append((method, request))
        self.asked.set()
        self.asked = asyncio.Event()

    # --- what a test does ---------------------------------------------------------------------------------------------

    def move(self, job_id: str, status: str, outcome: str | None = None, **values: Any) -> None:
        """A transition, told to the watchers."""
        job = self.jobs[job_id]
        job.status = types_pb2.JobStatus.Value(f"JOB_STATUS_{status.upper()}")
        if outcome is not None:
            job.outcome = types_pb2.Outcome.Value(f"OUTCOME_{outcome.upper()}")
        for name, value in values.items():
            if isinstance(value, types_pb2.JobError):
                job.error.CopyFrom(value)
            else:
                setattr(job, name, value)
        self._tell(job)

    def in_loop(self, work: Any) -> Any:
        """From another thread: run a coroutine, or call a function, in the fake's loop; returns what it returns."""

        async def call() -> Any:
            return work()

        assert self.loop is not None
        coroutine = work if asyncio.iscoroutine(work) else call()
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(10)

    async def reached(self, method: str, count: int = 1) -> None:
        """Return when a method has been called so often."""
        async with asyncio.timeout(10):
            while self.calls[method] < count:
                await self.asked.wait()

    def add_device(self, device_id: str, agent_id: str) -> None:
        self.devices[device_id] = types_pb2.Device(
            device_id=device_id, agent_id=agent_id, udid=device_id, target=types_pb2.TARGET_EMULATOR,
            state=types_pb2.DEVICE_STATE_IDLE, health=types_pb2.DEVICE_HEALTH_GOOD,
        )  # fmt: skip
        agent = self.agents.setdefault(agent_id, types_pb2.Agent(agent_id=agent_id, state=types_pb2.AGENT_STATE_ONLINE))
        agent.devices += 1

    def _tell(self, job: types_pb2.Job) -> None:
        event = types_pb2.Job()
        event.CopyFrom(job)
        self.events.append(event)
        self.changed.set()
        self.changed = asyncio.Event()

    def _find(self, job_id: str, field_path: str = "job_id") -> types_pb2.Job:
        job = self.jobs.get(self.aliases.get(job_id, job_id))
        if job is None:
            raise RefusalError("NOT_FOUND", f"no job {job_id}", field_path)
        return job

    # --- JobService ---------------------------------------------------------------------------------------------------

    async def submit_jobs(self, request: jobs_pb2.SubmitJobsRequest) -> jobs_pb2.SubmitJobsResponse:
        if self.hold is not None:
            await self.hold.wait()
        for index, each in enumerate(request.jobs):
            self._check(each, f"jobs[{index}].")
        answers = [self._submit(each) for each in request.jobs]
        if request.view == jobs_pb2.JOB_VIEW_IDS:
            answers = [
                types_pb2.Job(job_id=job.job_id, org_id=job.org_id, status=job.status, deduplicated=job.deduplicated)
                for job in answers
            ]
        return jobs_pb2.SubmitJobsResponse(jobs=answers, count=len(answers))

    def _check(self, each: jobs_pb2.SubmitJobRequest, prefix: str) -> None:
        for name in ("org_id", "app_version_id"):
            if not _ID.fullmatch(getattr(each, name)):
                raise RefusalError("INVALID_ARGUMENT", f"{prefix}{name}: not an id", f"{prefix}{name}")
        if ".." in each.test_path:
            raise RefusalError("INVALID_ARGUMENT", f"{prefix}test_path: no `..`", f"{prefix}test_path")
        for key, value in each.requirements.labels.items():
            if not value.isprintable():
                where = f"{prefix}requirements.labels.{key}"
                raise RefusalError("INVALID_ARGUMENT", f"{where}: contains a control character", where)
        if each.test_path == "conflict":
            raise RefusalError("FAILED_PRECONDITION", "another content under that job_id")

    def _submit(self, each: jobs_pb2.SubmitJobRequest) -> types_pb2.Job:
        alike = [] if each.no_dedup else self._alike[each.org_id, each.app_version_id, each.test_path]
        equal = next((job for job in alike if _are_equal(job, each)), None)
        if each.job_id not in self.jobs and equal is not None:
            self.aliases[each.job_id] = equal.job_id
            return _answer(equal, deduplicated=True)
        if each.job_id not in self.jobs:
            self._create(each)
        return _answer(self.jobs[each.job_id], deduplicated=False)

    def _create(self, each: jobs_pb2.SubmitJobRequest) -> None:
        job = types_pb2.Job(
            job_id=each.job_id, org_id=each.org_id, app_version_id=each.app_version_id, test_path=each.test_path,
            priority=each.priority or types_pb2.PRIORITY_MEDIUM, target=each.target or types_pb2.TARGET_EMULATOR,
            status=types_pb2.JOB_STATUS_QUEUED, round=1, max_retries=each.max_retries, labels=each.labels,
            requirements=each.requirements, run_ids=[each.run_id] if each.run_id else [],
        )  # fmt: skip
        job.created_at.FromMilliseconds(1_700_000_000_123 + len(self.jobs))
        self.jobs[job.job_id] = job
        self._alike[job.org_id, job.app_version_id, job.test_path].append(job)
        self._tell(job)
        if self.on_submit is not None:
            self.on_submit(job)

    async def get_job(self, request: jobs_pb2.GetJobRequest) -> jobs_pb2.GetJobResponse:
        return jobs_pb2.GetJobResponse(job=self._find(request.job_id))

    async def list_jobs(self, request: jobs_pb2.ListJobsRequest) -> jobs_pb2.ListJobsResponse:
        found = [
            job
            for job in reversed(self.jobs.values())
            if job.org_id == request.org_id
            and request.status in (0, job.status)
            and (not request.run_id or request.run_id in job.run_ids)
        ]
        start, size = int(request.page_token or 0), request.page_size or 100
        page = found[start : start + size]
        more = str(start + size) if len(found) > start + size else ""
        word = _STATUS_WORDS[request.status] if request.status else "all"
        return jobs_pb2.ListJobsResponse(
            jobs=page, count=len(page), next_page_token=more, org_id=request.org_id, status_filter=word
        )

    def _cancel(self, job: types_pb2.Job) -> None:
        self.move(job.job_id, "cancelled", "cancelled")

    async def cancel_job(self, request: jobs_pb2.CancelJobRequest) -> jobs_pb2.CancelJobResponse:
        job = self._find(request.job_id)
        if request.round != job.round:
            raise RefusalError("FAILED_PRECONDITION", f"round {request.round} is not the current one")
        if job.status in FINAL and job.status != types_pb2.JOB_STATUS_CANCELLED:
            raise RefusalError("FAILED_PRECONDITION", f"job {job.job_id} is {_STATUS_WORDS[job.status]}")
        self._cancel(job)
        return jobs_pb2.CancelJobResponse(job=job)

    async def cancel_jobs(self, request: jobs_pb2.CancelJobsRequest) -> jobs_pb2.CancelJobsResponse:
        if request.run_id and not any(request.run_id in job.run_ids for job in self.jobs.values()):
            raise RefusalError("NOT_FOUND", f"no run {request.run_id}", "run_id")
        chosen = [
            job
            for job in self.jobs.values()
            if job.org_id == request.org_id
            and job.status not in FINAL
            and (not request.run_id or request.run_id in job.run_ids)
            and (not request.statuses or job.status in request.statuses)
        ]
        for job in chosen:
            self._cancel(job)
        return jobs_pb2.CancelJobsResponse(jobs=chosen[: self.most_shown], count=len(chosen))

    async def retry_job(self, request: jobs_pb2.RetryJobRequest) -> jobs_pb2.RetryJobResponse:
        job = self._find(request.job_id)
        if job.status not in (types_pb2.JOB_STATUS_FAILED, types_pb2.JOB_STATUS_CANCELLED):
            raise RefusalError("FAILED_PRECONDITION", f"job {job.job_id} is {_STATUS_WORDS[job.status]}")
        if request.round != job.round:
            raise RefusalError("FAILED_PRECONDITION", f"round {request.round} is not the current one")
        job.round += 1
        job.ClearField("outcome")
        self.move(job.job_id, "queued")
        return jobs_pb2.RetryJobResponse(job=job)

    async def retry_jobs(self, request: jobs_pb2.RetryJobsRequest) -> jobs_pb2.RetryJobsResponse:
        wanted = [types_pb2.JOB_STATUS_FAILED] + ([] if request.failed_only else [types_pb2.JOB_STATUS_CANCELLED])
        chosen = [job for job in self.jobs.values() if request.run_id in job.run_ids and job.status in wanted]
        for job in chosen:
            job.round += 1
            self.move(job.job_id, "queued")
        return jobs_pb2.RetryJobsResponse(jobs=chosen[: self.most_shown], count=len(chosen))

    async def explain_job(self, request: jobs_pb2.ExplainJobRequest) -> jobs_pb2.ExplainJobResponse:
        job = types_pb2.Job()
        job.CopyFrom(self._find(request.job_id))
        job.pending_reason.CopyFrom(types_pb2.PendingReason(code=types_pb2.PENDING_CODE_ALL_BUSY, message="all busy"))
        busy = {"feasible": True, "message": "is busy", "code": types_pb2.PENDING_CODE_ALL_BUSY}
        devices = [jobs_pb2.ConsideredDevice(device_id=each, **busy) for each in self.devices]
        return jobs_pb2.ExplainJobResponse(job=job, devices=devices, summary="1 of 1 device could serve it: 1 is busy")

    async def watch_jobs(self, request: jobs_pb2.WatchJobsRequest) -> AsyncIterator[jobs_pb2.WatchJobsResponse]:
        ids = {self._find(job_id, f"job_ids[{i}]").job_id for i, job_id in enumerate(request.job_ids)}

        def wanted(job: types_pb2.Job) -> bool:
            in_run = not request.HasField("run_id") or request.run_id in job.run_ids
            return job.org_id == request.org_id and in_run and (not ids or job.job_id in ids)

        budget = self.cut_watch_after.pop(0) if self.cut_watch_after else None
        if request.HasField("cursor") and int(request.cursor) >= self.first_cursor:
            position = int(request.cursor)
            answers = []
        else:
            position = len(self.events)
            answers = [(jobs_pb2.WATCH_EVENT_RESET, None)] if request.HasField("cursor") else []
            answers += [(jobs_pb2.WATCH_EVENT_SNAPSHOT, job) for job in list(self.jobs.values()) if wanted(job)]
            answers.append((jobs_pb2.WATCH_EVENT_READY, None))
        shown = {job.job_id for _, job in answers if job is not None}
        while True:
            for event, job in answers:
                if budget == 0:
                    raise RefusalError("UNAVAILABLE", "cut")
                budget = None if budget is None else budget - 1
                yield jobs_pb2.WatchJobsResponse(event=event, cursor=str(position), job=job)
            answers = []
            changed = self.changed
            if position == len(self.events):
                if budget == 0:
                    raise RefusalError("UNAVAILABLE", "cut")
                await changed.wait()
                continue
            job, position = self.events[position], position + 1
            # Of a job that left the run those are told who were shown it.
            if wanted(job) or job.job_id in shown:
                shown.add(job.job_id)
                answers = [(jobs_pb2.WATCH_EVENT_TRANSITION, job)]

    async def tail_logs(self, request: jobs_pb2.TailLogsRequest) -> AsyncIterator[jobs_pb2.TailLogsResponse]:
        job = self._find(request.job_id)
        numbers = sorted(number for job_id, number in self.logs if job_id == job.job_id)
        chosen = [request.attempt] if request.HasField("attempt") else numbers[-1:]
        for number in chosen:
            data = self.logs.get((job.job_id, number), b"")[request.offset :]
            for start in range(0, len(data), 8):
                piece = data[start : start + 8]
                skipped = 0 if start else self.skipped.get((job.job_id, number), 0)
                at = request.offset + start
                yield jobs_pb2.TailLogsResponse(attempt=number, offset=at, data=piece, skipped=skipped)
                self._fault("TailLogs", after_effect=True)

    async def list_groups(self, request: jobs_pb2.ListGroupsRequest) -> jobs_pb2.ListGroupsResponse:
        waiting = Counter(
            (job.org_id, job.app_version_id) for job in self.jobs.values() if job.status == types_pb2.JOB_STATUS_QUEUED
        )
        groups = [
            types_pb2.Group(group_id=f"{org}/{app}", org_id=org, app_version_id=app, queued=count, target=1)
            for (org, app), count in waiting.items()
        ]
        return jobs_pb2.ListGroupsResponse(groups=groups, count=len(groups))

    async def get_run(self, request: jobs_pb2.GetRunRequest) -> jobs_pb2.GetRunResponse:
        jobs = [job for job in self.jobs.values() if request.run_id in job.run_ids]
        if not jobs and request.run_id not in self.left_runs:
            raise RefusalError("NOT_FOUND", f"no run {request.run_id}", "run_id")
        counts = Counter(_STATUS_WORDS[job.status] for job in jobs)
        return jobs_pb2.GetRunResponse(
            run=types_pb2.Run(run_id=request.run_id, org_id=request.org_id, status_counts=counts)
        )

    async def get_stats(self, request: jobs_pb2.GetStatsRequest) -> jobs_pb2.GetStatsResponse:
        del request
        queued = sum(job.status == types_pb2.JOB_STATUS_QUEUED for job in self.jobs.values())
        stats = types_pb2.Stats(queue=types_pb2.QueueStats(queued=queued))
        stats.scheduler.devices.total = len(self.devices)
        stats.timestamp.FromMilliseconds(1_700_000_000_000)
        return jobs_pb2.GetStatsResponse(stats=stats)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _fault(self, method: str, *, after_effect: bool) -> None:
        for fault in self.faults:
            if (fault.method, fault.after_effect) == (method, after_effect):
                self.faults.remove(fault)
                if fault.refused is not None:
                    raise RefusalError("INVALID_ARGUMENT", f"{fault.refused}: no", fault.refused)
                raise RefusalError(fault.code.name, "a fault that the test asked for")


def _are_equal(job: types_pb2.Job, each: jobs_pb2.SubmitJobRequest) -> bool:
    """Whether an unfinished job is equal to a submission of the same test of the same app version."""
    device = (job.target, job.requirements) == (each.target or types_pb2.TARGET_EMULATOR, each.requirements)
    return device and job.status not in FINAL


def _answer(job: types_pb2.Job, *, deduplicated: bool) -> types_pb2.Job:
    answer = types_pb2.Job()
    answer.CopyFrom(job)
    answer.deduplicated = deduplicated
    return answer


def _snake(method: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


def _unary(fake: FakeCoordinator, method: str) -> Any:
    async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        fake.note(method, request)
        fake.metadata = dict(context.invocation_metadata() or ())
        try:
            fake._fault(method, after_effect=False)
            answer = await getattr(fake, _snake(method))(request)
            fake._fault(method, after_effect=True)
        except RefusalError as refusal:
            await context.abort_with_status(refusal.to_status())
        return answer

    return serve


def _stream(fake: FakeCoordinator, method: str) -> Any:
    async def serve(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        fake.note(method, request)
        try:
            fake._fault(method, after_effect=False)
            async for answer in getattr(fake, _snake(method))(request):
                yield answer
        except RefusalError as refusal:
            await context.abort_with_status(refusal.to_status())
        finally:
            if method == "WatchJobs":
                fake.watch_ended.set()

    return serve


async def _check_health(fake: FakeCoordinator) -> bytes:
    return b"\x08\x01" if fake.serving else b"\x08\x02"


@asynccontextmanager
async def serving(fake: FakeCoordinator | None = None, port: int = 0) -> AsyncIterator[FakeCoordinator]:
    """A running fake; its `address` is set."""
    fake = fake or FakeCoordinator()
    for descriptor in (*jobs_pb2.DESCRIPTOR.services_by_name.values(), *fleet_pb2.DESCRIPTOR.services_by_name.values()):
        for each in descriptor.methods:
            make = _stream if each.name in ("WatchJobs", "TailLogs") else _unary
            setattr(fake, each.name, make(fake, each.name))
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    jobs_pb2_grpc.add_JobServiceServicer_to_server(fake, server)
    fleet_pb2_grpc.add_FleetServiceServicer_to_server(fake, server)

    async def check(_: bytes, __: Any) -> bytes:
        return await _check_health(fake)

    handler = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),)
    )
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    fake.address = f"127.0.0.1:{bound}"
    await server.start()
    try:
        yield fake
    finally:
        await server.stop(0)


@contextmanager
def serving_in_thread(fake: FakeCoordinator | None = None) -> Iterator[FakeCoordinator]:
    """A running fake on an event loop of its own, for tests that block. Touch it in its loop, by `in_loop`."""
    started = threading.Event()
    state: dict[str, Any] = {}

    async def serve() -> None:
        async with serving(fake) as coordinator:
            state.update(fake=coordinator, stop=asyncio.Event())
            coordinator.loop = asyncio.get_running_loop()
            started.set()
            await state["stop"].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the fake coordinator did not start")
    try:
        yield state["fake"]
    finally:
        state["fake"].loop.call_soon_threadsafe(state["stop"].set)
        thread.join(10)
