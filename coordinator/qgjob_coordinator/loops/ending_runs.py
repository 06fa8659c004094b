"""Cancels the runs that are marked for it, such as superseded ones; whoever set a mark may be dead since."""

from __future__ import annotations

import asyncio
import secrets
import time

import structlog

from qgjob_coordinator.errors import OrgDamagedError, StoreUnavailableError
from qgjob_coordinator.service.calls.jobs import JobService
from qgjob_coordinator.service.org_faults import OrgFaults
from qgjob_coordinator.store.runs import RunToCancel
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.tasks import end_tasks

ORGS_AT_ONCE = 8
CLAIM_SECONDS = 5.0
"""So long the marked runs of a coordinator that died over them wait; one that is at them says so three times in it."""
PART = "ending_runs"
FAULT_PAUSE_SECONDS = 60.0
"""After a fault of ours at a run it is left alone for so long."""

log = structlog.get_logger(__name__)


class EndingRuns:
    """One of any number: of those that see the marks of an org one cancels its runs, and two would do no harm."""

    def __init__(self, store: Store, jobs: JobService, faults: OrgFaults) -> None:
        self._store = store
        self._jobs = jobs
        self._faults = faults
        self._token = secrets.token_hex(8)  # one for all walks: the walk after a broken one goes on with its claim
        self._orgs: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._busy: dict[str, bool] = {}  # orgs that are served now, and whether to look at them again
        self._not_before: dict[tuple[str, str], float] = {}  # runs at which something went wrong, by monotonic time

    def due(self, org_id: str) -> None:
        """The org has marks. They are in the store, so a call that is lost with this process is made by another one."""
        if self._faults.resting(PART, org_id):  # the timers find the marks again
            return
        if org_id in self._busy:  # no second worker of this process: others would wait for both
            self._busy[org_id] = True
        elif org_id not in self._waiting:
            self._waiting.add(org_id)
            self._orgs.put_nowait(org_id)

    async def run(self) -> None:
        """Serves for ever, some orgs at once. Marks that could not be served stay, and the timers find them again."""
        await asyncio.gather(*[self._serve() for _ in range(ORGS_AT_ONCE)])

    async def _serve(self) -> None:
        while True:
            org_id = await self._orgs.get()
            self._waiting.discard(org_id)
            self._busy[org_id] = False  # before the look: a mark that comes from now on is looked for again
            try:
                await self._faults.guard(PART, org_id, self.finish(org_id))
            except StoreUnavailableError as e:
                log.warning("ending_runs_blind", org_id=org_id, error=e.message)
            except OrgDamagedError:
                pass  # told; its marks stay
            if self._busy.pop(org_id):
                self.due(org_id)

    async def finish(self, org_id: str) -> None:
        """Cancels what the marked runs of the org have unfinished, unless another one is at it.

        Raises StoreUnavailableError. Then the claim stays for its time, as that of a coordinator that died does; this
        one takes it again at its next try, and doesn't wait for that.
        """
        if not await self._store.runs.take_ending(org_id, self._token, CLAIM_SECONDS):
            return
        renewing = asyncio.create_task(self._renew(org_id), name="ending_runs_renew")
        try:
            for run in await self._store.runs.to_cancel(org_id):
                if time.monotonic() >= self._not_before.get((org_id, run.run_id), 0.0):
                    await self._finish(org_id, run)
        finally:
            await end_tasks([renewing])
        await self._store.runs.drop_ending(org_id, self._token)

    async def _renew(self, org_id: str) -> None:
        """Keeps the claim while the runs are walked. One that is lost costs work twice, and nothing else."""
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            try:
                await self._store.runs.renew_ending(org_id, self._token, CLAIM_SECONDS)
            except StoreUnavailableError as e:
                log.debug("ending_not_renewed", org_id=org_id, error=e.message)

    async def _finish(self, org_id: str, run: RunToCancel) -> None:
        """One run. A fault of ours at one keeps no other from its end, and the mark stays for a later try."""
        key = org_id, run.run_id
        try:
            changed = await self._jobs.cancel_run(org_id, run.run_id, run.reason)
            # Only now, and only this mark: jobs that came with a newer one may have come behind the walk.
            await self._store.runs.cancelled(org_id, [run])
        except StoreUnavailableError:
            raise
        except Exception:
            log.exception("run_not_cancelled", org_id=org_id, run_id=run.run_id, again_in_seconds=FAULT_PAUSE_SECONDS)
            self._not_before[key] = time.monotonic() + FAULT_PAUSE_SECONDS
        else:
            self._not_before.pop(key, None)
            log.info(
                "run_cancelled",
                org_id=org_id,
                run_id=run.run_id,
                reason=run.reason,
                cancelled=changed.count,
                detached=changed.detached,
            )
