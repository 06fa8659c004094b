"""What a watch is of: jobs that are named, until they have their verdicts, or a run or an org, without end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qgjob._enums import WatchEventKind

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Job, WatchEvent

# After so much silence a watch from a cursor has told what was there: a verdict that lies before it is read.
SILENCE_SECONDS = 1.0


class Named:
    """Which of the jobs are waited for: those without a verdict, also where no event of the watch tells of it."""

    def __init__(self, job_ids: Sequence[str]) -> None:
        self._awaited = set(job_ids)
        self._seen: set[str] = set()
        self._over: set[str] = set()
        self._asked = False

    @property
    def all_over(self) -> bool:
        """Whether jobs are named, and all have their verdicts."""
        return bool(self._awaited) and self._awaited <= self._over

    async def note(self, client: AsyncClient, event: WatchEvent) -> None:
        """An event of the watch came. Raises NotFoundError when a job that is named is not there."""
        if event.event is WatchEventKind.READY:
            # A job that is named and not in its snapshot was named by an alias.
            self._awaited = {each if each in self._seen else (await client.get(each)).job_id for each in self._awaited}
        if event.job is not None:
            self._seen.add(event.job.job_id)
            if event.job.final:
                self._over.add(event.job.job_id)

    async def ask(self, client: AsyncClient) -> list[Job]:
        """Nothing came for a while: those with verdicts that no event told. What comes after this, events tell.

        Raises NotFoundError when a job that is named is not there.
        """
        if self._asked:
            return []
        jobs = [await client.get(each) for each in sorted(self._awaited - self._over)]
        self._asked = True
        self._awaited = (self._awaited & self._over) | {job.job_id for job in jobs}
        told = [job for job in jobs if job.final and job.job_id not in self._over]
        self._over |= {job.job_id for job in told}
        return told


class Endless:
    """What is said once of a watch that ends by Ctrl-C alone: that it does, and what is there so far."""

    def __init__(self, of: str) -> None:
        self._of = of
        self._unfinished: dict[str, bool] = {}
        self._told = False

    def line(self, event: WatchEvent) -> str | None:
        """To be told after an event: when all that was there is shown."""
        if self._told:
            return None
        if event.job is not None:
            self._unfinished[event.job.job_id] = not event.job.final
        if event.event is not WatchEventKind.READY:
            return None
        self._told = True
        if not self._unfinished:
            return f"{self._of} has no job yet; watching on, Ctrl-C ends it"
        over = not any(self._unfinished.values())
        return (f"all jobs of {self._of} have their verdicts; " if over else "") + "watching on, Ctrl-C ends it"
