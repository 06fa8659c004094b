"""Orgs whose data can't be used, told apart from faults that belong to no org: the one place where they are caught.

Coordinators serve all orgs from the same loops, and a loop that dies ends its coordinator on purpose. A record of one
org that can't be read would end every coordinator, again and again, for all of them. So whatever the work for one org
ends with is that org's, as long as the store and the blob store answer: it is set aside, with pauses that grow, and
told. What a loop does for no org in particular is not done under this guard, and ends the process as any fault of ours.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import structlog

from qgjob_coordinator.errors import REPAIR, JobDamagedError, OrgDamagedError
from qgjob_coordinator.policy.diagnosis.facts import Damaged
from qgjob_coordinator.service.halving import NO_FAULTS, Halving, nobody_knows
from qgjob_coordinator.telemetry import Telemetry

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0
"""Between two tries: so long a repaired org may wait until it is served again."""
FIRST_TOLD_SECONDS = 60.0
LONGEST_TOLD_SECONDS = 3600.0
"""Between two lines of the log that say the same."""
REMEMBERED_SECONDS = 1800.0
"""What nobody met again for so long is forgotten: the org may be gone, or not used any more."""

WHAT_TO_DO = f"see {REPAIR}; the org is served again once that is mended"

GIVING_OUT = ("scheduler", "plans", "claims", "timers")
DUE_JOBS = "due_jobs"
"""The part that serves single jobs whose time has come."""

T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - of items

log = structlog.get_logger(__name__)


class OfOrg(Protocol):
    """What was seen of one org."""

    @property
    def org_id(self) -> str:
        """Whose it is."""


S = TypeVar("S", bound=OfOrg)


class _Blamed(NamedTuple):
    """Jobs that can't be used, and why they could not be looked for."""

    jobs: tuple[str, ...] = ()
    error: str | None = None


_NOBODY = _Blamed()


@dataclass(slots=True)
class _Fault:
    """What a part met in an org. All times are monotonic, in s; `open` until the org was served again."""

    error: str
    since: float
    met_at: float
    pause: float
    not_before: float
    told_again_at: float
    told_pause: float
    open: bool = True
    told: bool = True
    blamed: _Blamed = _NOBODY


class OrgFaults:
    """One a process. `part` is always the word of the part of the coordinator that serves the org: see ORG_PARTS."""

    def __init__(
        self,
        telemetry: Telemetry | None = None,
        now: Callable[[], float] = time.monotonic,
        *,
        damaged_jobs: Callable[[str], Awaitable[Sequence[str]]] = nobody_knows,
    ) -> None:
        """`damaged_jobs` finds the ids of some jobs of an org that can't be used. Asked once a failed try."""
        self._telemetry = telemetry or Telemetry()
        self._now = now
        self._damaged_jobs = damaged_jobs
        self._faults: dict[tuple[str, str], _Fault] = {}

    async def guard(self, part: str, org_id: str, work: Awaitable[T], *, last: bool = True) -> T:
        """What the work for one org gives. Raises OrgDamagedError for whatever it ends with.

        That the store or the blob store is away is nobody's fault, and passes as it is; so does a cancel. The org
        counts as served when it was the `last` that the part does for it.
        """
        try:
            answer = await work
        except NO_FAULTS:
            raise
        except Exception as e:
            raise self._met(part, org_id, e, await self._blamed(part, org_id)) from e
        if last:
            self._served(part, org_id)
        return answer

    async def halved(
        self,
        part: str,
        org_id: str,
        items: Sequence[I],
        work: Callable[[Sequence[I]], Awaitable[None]],
        unusable: Callable[[Sequence[I]], Awaitable[Sequence[I]]] = nobody_knows,
    ) -> tuple[list[I], OrgDamagedError | None]:
        """Does work that may be done twice with all items; those for which it could not be done, and why.

        Which ones is found as `Halving` does it. Raises StoreUnavailableError, when nobody knows what was done.
        """
        halving = Halving(work, unusable)
        await halving.go(items)
        if halving.error is None:
            self._served(part, org_id)
            return [], None
        found = self._met(part, org_id, halving.error, await self._blamed(part, org_id))
        found.__cause__ = halving.error
        return halving.left(), found

    def computed(self, part: str, orgs: Sequence[S], work: Callable[[Sequence[S]], T], *, last: bool = True) -> T:
        """What is made of all orgs at once. Raises OrgDamagedError for the first with which alone it can't be made.

        An error that comes of no org alone, or without any, is raised as it is: it is ours. Orgs count as served
        when it was the `last` that the part makes of them.
        """
        try:
            answer = work(orgs)
        except Exception:
            work([])
            for org in orgs:
                try:
                    work([org])
                except Exception as e:
                    raise self._met(part, org.org_id, e) from e
            raise
        if self._faults and last:
            for org in orgs:
                self._served(part, org.org_id)
        return answer

    def resting(self, part: str, org_id: str) -> OrgDamagedError | None:
        """Why the part is not to serve the org yet, if it was set aside and its pause is not over."""
        fault = self._faults.get((part, org_id))
        left = 0.0 if fault is None else fault.not_before - self._now()
        return None if fault is None or left <= 0 else OrgDamagedError(org_id, fault.error, left)

    def keeps_waiting(self, org_id: str, *, for_its_time: bool) -> str | None:
        """What a job of the org is told to wait for, where those parts set it aside that give jobs out.

        `for_its_time`: it goes to its queue when its retry or its `not_before` is due; what delays that is told too.
        """
        for part in (*GIVING_OUT, DUE_JOBS) if for_its_time else GIVING_OUT:
            fault = self._faults.get((part, org_id))
            if fault is not None and fault.open:
                late = "jobs that wait for their time may be queued late" if part == DUE_JOBS else "its jobs wait"
                return f"the data of org {org_id} can't be used ({fault.error}): until that is mended, {late}"
        return None

    def damaged(self) -> list[Damaged]:
        """Orgs that are set aside now, by name."""
        now = self._now()
        self._forget(now)
        parts: dict[str, list[tuple[str, _Fault]]] = {}
        for (part, org_id), fault in sorted(self._faults.items()):
            if fault.open:
                parts.setdefault(org_id, []).append((part, fault))
        return [
            Damaged(
                o,
                tuple(p for p, _ in f),
                f[0][1].error,
                now - min(x.since for _, x in f),
                tuple(dict.fromkeys(job for _, x in f for job in x.blamed.jobs)),
            )
            for o, f in sorted(parts.items())
        ]

    async def _blamed(self, part: str, org_id: str) -> _Blamed | None:
        """Jobs that are to blame, as far as they are found; None where they were looked for in the same try."""
        fault = self._faults.get((part, org_id))
        if fault is not None and fault.open and self._now() < fault.not_before:
            return None
        try:
            return _Blamed(tuple(await self._damaged_jobs(org_id)))
        except Exception as e:  # noqa: BLE001 - told beside what was met before
            return _Blamed((), _words(e))

    def _met(self, part: str, org_id: str, e: Exception, blamed: _Blamed | None = None) -> OrgDamagedError:
        """Counts it, tells it when that is news, and says how long to wait. With None what was known before stays."""
        self._telemetry.org_faults[part] += 1
        now, error = self._now(), _words(e)
        fault = self._faults.get((part, org_id))
        if fault is None:
            self._forget(now)
            fault = _Fault(error, now, now, 0.0, now, now, FIRST_TOLD_SECONDS)
            self._faults[part, org_id] = fault
        elif not fault.open:
            fault.open, fault.since, fault.told = True, now, False
        fault.met_at = now
        fault.blamed = fault.blamed if blamed is None else blamed
        if now >= fault.not_before:  # else it is of the same try: several agents may meet it at once
            fault.pause = min(max(2 * fault.pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            fault.not_before = now + fault.pause
        if now >= fault.told_again_at or error != fault.error:
            self._tell(part, org_id, fault, error, e, now)
        return OrgDamagedError(org_id, error, fault.not_before - now)

    @staticmethod
    def _tell(part: str, org_id: str, fault: _Fault, error: str, e: Exception, now: float) -> None:
        fault.error, fault.told = error, True
        fault.told_again_at = now + fault.told_pause
        fault.told_pause = min(2 * fault.told_pause, LONGEST_TOLD_SECONDS)
        log.error(
            "org_damaged",
            org_id=org_id,
            part=part,
            error=error,
            jobs=list(fault.blamed.jobs),
            **({} if fault.blamed.error is None else {"jobs_not_looked_for": fault.blamed.error}),
            again_in_seconds=round(fault.not_before - now, 1),
            what_to_do=WHAT_TO_DO,
            exc_info=e,
        )

    def _served(self, part: str, org_id: str) -> None:
        """The org could be served. What was told of it is remembered: a record may be met in some tries only."""
        fault = self._faults.get((part, org_id))
        if fault is None or not fault.open:
            return
        now = self._now()
        fault.open, fault.pause, fault.not_before = False, 0.0, now
        if fault.told:
            log.info("org_mended", org_id=org_id, part=part, seconds=round(now - fault.since, 1))

    def _forget(self, now: float) -> None:
        for key in [k for k, fault in self._faults.items() if now - fault.met_at > REMEMBERED_SECONDS]:
            del self._faults[key]


def _words(e: Exception) -> str:
    return e.message if isinstance(e, JobDamagedError) else f"{type(e).__name__}: {e}"
