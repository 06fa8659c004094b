"""The blocking client: the asynchronous one on an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from qgjob._artifacts import Artifact, ArtifactOmission, ArtifactPage
from qgjob._build_file import Progress
from qgjob._builds import Build, BuildPage, PushedBuild
from qgjob._client import AsyncClient, View
from qgjob._diagnosis import Diagnosis
from qgjob._errors import QgjobError
from qgjob._failover import RECONNECT_SECONDS, TIMEOUT_SECONDS
from qgjob._fleet import Agent, AgentPage, Device, DevicePage, Group, GroupPage, Health, Run, Stats
from qgjob._job_calls import DEFAULT_PAGE_SIZE
from qgjob._models import Bond, Explanation, Job, JobPage, JobRef, JobSelection, JobSpec, LogChunk, WatchEvent
from qgjob._suites import PushedSuite, Suite, SuitePage

if TYPE_CHECKING:
    from qgjob._errors import UnavailableError
    from qgjob._transport import Transport

T = TypeVar("T")


class Client:
    """`AsyncClient` for code that blocks; the methods are the same and documented there.

    Many threads may use it; their submissions that are in flight together share calls too. Close it, or use it as a
    context manager. `on_change` and `on_trouble` are called in the client's own thread.
    """

    def __init__(
        self,
        coordinator: str | None = None,
        *,
        token: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        reconnect_seconds: float = RECONNECT_SECONDS,
        transports: Sequence[Transport] | None = None,
        on_trouble: Callable[[UnavailableError], None] | None = None,
    ) -> None:
        self._client = AsyncClient(
            coordinator,
            token=token,
            timeout_seconds=timeout_seconds,
            reconnect_seconds=reconnect_seconds,
            transports=transports,
            on_trouble=on_trouble,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="qgjob-client", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Wait for the submissions under way, close the connections, end the thread. Closing twice is harmless."""
        if self._loop.is_closed():
            return
        try:
            self._do(self._client.close())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # Ctrl-C in the waiting thread: the call ends too. (Harmless when it is what failed.)
            future.cancel()
            raise

    def _each(self, make: Callable[[], AsyncGenerator[T]]) -> Iterator[T]:
        items = make()
        try:
            while True:
                try:
                    yield self._do(_next(items))
                except StopAsyncIteration:
                    return
        finally:
            if not self._loop.is_closed():
                self._do(items.aclose())

    @property
    def address(self) -> str:
        """The coordinator that is asked next."""
        return self._client.address

    @overload
    def submit(self, spec: JobSpec, *, view: Literal["full"] = "full") -> Job: ...
    @overload
    def submit(self, spec: JobSpec, *, view: Literal["ids"]) -> JobRef: ...

    def submit(self, spec: JobSpec, *, view: View = "full") -> Job | JobRef:
        """Submit one job."""
        return self._do(self._client.submit(spec, view=view))

    @overload
    def submit_many(
        self, specs: Iterable[JobSpec], *, view: Literal["full"] = "full", bond: Bond | None = None
    ) -> tuple[Job, ...]: ...
    @overload
    def submit_many(
        self, specs: Iterable[JobSpec], *, view: Literal["ids"], bond: Bond | None = None
    ) -> tuple[JobRef, ...]: ...

    def submit_many(
        self, specs: Iterable[JobSpec], *, view: View = "full", bond: Bond | None = None
    ) -> tuple[Job, ...] | tuple[JobRef, ...]:
        """Submit many jobs, up to 1,000 of one org all or nothing."""
        return self._do(self._client.submit_many(specs, view=view, bond=bond))

    @contextlib.contextmanager
    def kept(
        self, org_id: str, run_id: str, bond: Bond, *, on_trouble: Callable[[QgjobError], None] | None = None
    ) -> Iterator[None]:
        """A block in which the client shows that it lives, for a run that is bound to it.

        An answer that ends the block of the asynchronous client is raised when this one ends. `on_trouble` is called by
        the client's own thread.
        """
        block = self._client.kept(org_id, run_id, bond, on_trouble=on_trouble)
        self._do(_entered(block))
        try:
            yield
        except BaseException as error:
            self._do(_left(block, error))
            raise
        self._do(_left(block, None))

    def keep_run(self, org_id: str, run_id: str, bond: Bond, *, release: bool = False) -> None:
        """Show that this client lives, or let the run go on by itself."""
        self._do(self._client.keep_run(org_id, run_id, bond, release=release))

    def get(self, job_id: str) -> Job:
        """One job."""
        return self._do(self._client.get(job_id))

    def list_page(
        self,
        org_id: str,
        *,
        status: str | None = None,
        run_id: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> JobPage:
        """One page of an org's jobs, newest first."""
        call = self._client.list_page(org_id, status=status, run_id=run_id, page_size=page_size, page_token=page_token)
        return self._do(call)

    def list(
        self, org_id: str, *, status: str | None = None, run_id: str | None = None, page_size: int = DEFAULT_PAGE_SIZE
    ) -> Iterator[Job]:
        """All of an org's jobs, newest first."""
        return self._each(lambda: self._client.list(org_id, status=status, run_id=run_id, page_size=page_size))

    def explain(self, job_id: str) -> Explanation:
        """Why a job waits."""
        return self._do(self._client.explain(job_id))

    def cancel(self, job_id: str, *, round: int | None = None, reason: str | None = None) -> Job:  # noqa: A002
        """Cancel a job."""
        return self._do(self._client.cancel(job_id, round=round, reason=reason))

    def cancel_many(
        self, org_id: str, *, run_id: str | None = None, statuses: Iterable[str] = (), reason: str | None = None
    ) -> JobSelection:
        """Cancel the unfinished jobs of a run, or those in `statuses`, or both."""
        return self._do(self._client.cancel_many(org_id, run_id=run_id, statuses=statuses, reason=reason))

    def retry(self, job_id: str, *, round: int | None = None) -> Job:  # noqa: A002
        """Start a new round of a failed or cancelled job."""
        return self._do(self._client.retry(job_id, round=round))

    def retry_many(self, org_id: str, run_id: str, *, failed_only: bool = False) -> JobSelection:
        """Start a new round of the failed and cancelled jobs of a run."""
        return self._do(self._client.retry_many(org_id, run_id, failed_only=failed_only))

    def watch(
        self,
        org_id: str | None = None,
        *,
        run_id: str | None = None,
        job_ids: Sequence[str] = (),
        cursor: str | None = None,
    ) -> Iterator[WatchEvent]:
        """A snapshot, then every transition."""
        return self._each(lambda: self._client.watch(org_id, run_id=run_id, job_ids=job_ids, cursor=cursor))

    def follow(self, job_ids: str | Iterable[str]) -> Iterator[Job]:
        """Each job as it stands, then after each change, until all have their verdicts."""
        return self._each(lambda: self._client.follow(job_ids))

    def follow_run(self, org_id: str, run_id: str) -> Iterator[Job]:
        """As `follow`, for all jobs of a run."""
        return self._each(lambda: self._client.follow_run(org_id, run_id))

    def wait(
        self,
        job_ids: str | Iterable[str],
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> tuple[Job, ...]:
        """Return the jobs when all have their verdicts."""
        return self._do(self._client.wait(job_ids, timeout_seconds=timeout_seconds, on_change=on_change))

    def wait_run(
        self,
        org_id: str,
        run_id: str,
        *,
        timeout_seconds: float | None = None,
        on_change: Callable[[Job], None] | None = None,
    ) -> tuple[Job, ...]:
        """As `wait`, for all jobs of a run."""
        return self._do(self._client.wait_run(org_id, run_id, timeout_seconds=timeout_seconds, on_change=on_change))

    def logs(
        self, job_id: str, *, attempt: int | None = None, follow: bool = False, offset: int = 0
    ) -> Iterator[LogChunk]:
        """The log of an attempt."""
        return self._each(lambda: self._client.logs(job_id, attempt=attempt, follow=follow, offset=offset))

    def groups_page(
        self, org_id: str | None = None, *, page_size: int = DEFAULT_PAGE_SIZE, page_token: str | None = None
    ) -> GroupPage:
        """One page of the groups with unfinished jobs."""
        return self._do(self._client.groups_page(org_id, page_size=page_size, page_token=page_token))

    def groups(self, org_id: str | None = None) -> Iterator[Group]:
        """All groups with unfinished jobs."""
        return self._each(lambda: self._client.groups(org_id))

    def run(self, org_id: str, run_id: str) -> Run:
        """The jobs of one run, counted."""
        return self._do(self._client.run(org_id, run_id))

    def stats(self, org_id: str | None = None) -> Stats:
        """Counts of jobs, devices and installs."""
        return self._do(self._client.stats(org_id))

    def health(self) -> Health:
        """What a coordinator says of itself."""
        return self._do(self._client.health())

    def devices_page(
        self,
        *,
        agent_id: str | None = None,
        target: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> DevicePage:
        """One page of the devices."""
        call = self._client.devices_page(agent_id=agent_id, target=target, page_size=page_size, page_token=page_token)
        return self._do(call)

    def devices(self, *, agent_id: str | None = None, target: str | None = None) -> Iterator[Device]:
        """All devices."""
        return self._each(lambda: self._client.devices(agent_id=agent_id, target=target))

    def agents_page(self, *, page_size: int = DEFAULT_PAGE_SIZE, page_token: str | None = None) -> AgentPage:
        """One page of the agents."""
        return self._do(self._client.agents_page(page_size=page_size, page_token=page_token))

    def agents(self) -> Iterator[Agent]:
        """All agents."""
        return self._each(self._client.agents)

    def push_build(
        self,
        org_id: str,
        app_version_id: str,
        path: str | os.PathLike[str],
        *,
        replace: bool = False,
        on_progress: Progress | None = None,
    ) -> PushedBuild:
        """Give an app version a build. `on_progress` is called in the client's own thread."""
        call = self._client.push_build(org_id, app_version_id, path, replace=replace, on_progress=on_progress)
        return self._do(call)

    def builds_page(
        self,
        org_id: str,
        *,
        app_version_id: str | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> BuildPage:
        """One page of an org's builds."""
        call = self._client.builds_page(
            org_id, app_version_id=app_version_id, page_size=page_size, page_token=page_token
        )
        return self._do(call)

    def list_builds(self, org_id: str, *, app_version_id: str | None = None) -> Iterator[Build]:
        """All builds of an org."""
        return self._each(lambda: self._client.list_builds(org_id, app_version_id=app_version_id))

    def artifacts_page(
        self,
        job_ids: Sequence[str],
        *,
        attempt: int | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> ArtifactPage:
        """One page of what is kept of up to 100 jobs of one org."""
        call = self._client.artifacts_page(job_ids, attempt=attempt, page_size=page_size, page_token=page_token)
        return self._do(call)

    def list_artifacts(
        self, job_ids: Sequence[str], *, attempt: int | None = None
    ) -> Iterator[Artifact | ArtifactOmission]:
        """All that is kept of any number of jobs, and what was left out of them."""
        return self._each(lambda: self._client.list_artifacts(job_ids, attempt=attempt))

    def fetch_artifact(self, job_id: str, attempt: int, name: str) -> Iterator[bytes]:
        """The bytes of a file."""
        return self._each(lambda: self._client.fetch_artifact(job_id, attempt, name))

    def push_suite(
        self, org_id: str, suite: str | os.PathLike[str], *, on_progress: Progress | None = None
    ) -> PushedSuite:
        """Let an org have a test project. `on_progress` is called in the client's own thread."""
        return self._do(self._client.push_suite(org_id, suite, on_progress=on_progress))

    def suites_page(
        self, org_id: str, *, page_size: int = DEFAULT_PAGE_SIZE, page_token: str | None = None
    ) -> SuitePage:
        """One page of an org's suites."""
        return self._do(self._client.suites_page(org_id, page_size=page_size, page_token=page_token))

    def list_suites(self, org_id: str) -> Iterator[Suite]:
        """All suites of an org, the last pushed first."""
        return self._each(lambda: self._client.list_suites(org_id))

    def diagnose(self) -> Diagnosis:
        """What a coordinator finds when it looks for what is wrong."""
        return self._do(self._client.diagnose())

    def drain(
        self,
        *,
        agent_id: str | None = None,
        device_id: str | None = None,
        reason: str | None = None,
        until: datetime | None = None,
    ) -> tuple[Device, ...]:
        """Let a device, or all of an agent, finish what runs and take nothing new."""
        return self._do(self._client.drain(agent_id=agent_id, device_id=device_id, reason=reason, until=until))

    def resume(self, *, agent_id: str | None = None, device_id: str | None = None) -> tuple[Device, ...]:
        """End a drain, a maintenance or a quarantine."""
        return self._do(self._client.resume(agent_id=agent_id, device_id=device_id))

    def forget_agent(self, agent_id: str) -> tuple[Device, ...]:
        """Forget an agent that is gone for good; its devices as they were."""
        return self._do(self._client.forget_agent(agent_id))

    def set_device_health(
        self, device_id: str, health: str, *, reason: str | None = None, until: datetime | None = None
    ) -> Device:
        """An operator's word on a device."""
        return self._do(self._client.set_device_health(device_id, health, reason=reason, until=until))

    def reserve(self, device_id: str, *, until: datetime, reason: str | None = None, extend: bool = False) -> Device:
        """Keep a device for a person, or give their reservation another end."""
        return self._do(self._client.reserve(device_id, until=until, reason=reason, extend=extend))

    def release(self, device_id: str) -> Device:
        """Give a reserved device back."""
        return self._do(self._client.release(device_id))

    def set_labels(self, device_id: str, labels: Mapping[str, str]) -> Device:
        """Replace the labels that were set by this call before."""
        return self._do(self._client.set_labels(device_id, labels))


async def _next(items: AsyncGenerator[T]) -> T:
    return await anext(items)


async def _entered(block: contextlib.AbstractAsyncContextManager[None]) -> None:
    await block.__aenter__()


async def _left(block: contextlib.AbstractAsyncContextManager[None], error: BaseException | None) -> None:
    await block.__aexit__(type(error) if error else None, error, error.__traceback__ if error else None)
