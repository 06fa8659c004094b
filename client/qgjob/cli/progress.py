"""What a waiting command shows on stderr: a live view on a terminal, else one plain line a transition."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from qgjob._enums import JobStatus
from qgjob._models import Job
from qgjob.cli.job_tables import transition_text
from qgjob.cli.job_words import News, note_words, test_words
from qgjob.cli.render import grid
from qgjob.cli.tables import Column

_MAX_ROWS = 20
_REFRESH_PER_SECOND = 4
_COLUMNS = (
    Column("TEST", least=16, keeps_end=True),
    Column("TARGET", spare=2),
    Column("STATUS", spare=1),
    Column("DEVICE", spare=3),
    Column("NOTE", least=16),
)
_ORDER = {
    JobStatus.RUNNING: 0,
    JobStatus.SCHEDULED: 1,
    JobStatus.QUEUED: 2,
    JobStatus.FAILED: 3,
    JobStatus.CANCELLED: 4,
    JobStatus.COMPLETED: 5,
}


class Progress(Protocol):
    """A context manager that is told of jobs as they change."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def update(self, job: Job) -> None:
        """A job as it stands; what would be told in the same words again is told once."""


def open_progress(total: int | None) -> Progress:
    """The progress that fits stderr. `total` is the number of jobs where it is known."""
    return LiveProgress(total) if sys.stderr.isatty() else PlainProgress()


class PlainProgress:
    """One line a transition."""

    def __init__(self) -> None:
        self._news = News()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, job: Job) -> None:
        """Tell of a change."""
        words = self._news.of(job)
        if words is not None:
            print(transition_text(job, words, datetime.now(UTC)).plain, file=sys.stderr, flush=True)


class LiveProgress:
    """A table of what is under way, with counts beneath; gone when it ends."""

    def __init__(self, total: int | None) -> None:
        self._total = total
        self._jobs: dict[str, Job] = {}
        console = Console(stderr=True, highlight=False, markup=False, emoji=False)
        self._live = Live(
            get_renderable=self._view, console=console, refresh_per_second=_REFRESH_PER_SECOND, transient=True
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, job: Job) -> None:
        """Shown at the next refresh."""
        self._jobs[job.job_id] = job

    def _view(self) -> RenderableType:
        # A copy: the view is drawn in a thread of Rich's.
        jobs = sorted(self._jobs.copy().values(), key=lambda job: _ORDER[job.status])
        now = datetime.now(UTC)
        rows = [
            [test_words(job), job.target, job.outcome or job.status, job.device_id, note_words(job, now)]
            for job in jobs[:_MAX_ROWS]
        ]
        hidden = len(jobs) - _MAX_ROWS
        more = [Text(f"… and {hidden} more", style="dim")] if hidden > 0 else []
        return Group(grid(_COLUMNS, rows), *more, Text(self._summary(jobs), style="bold"))

    def _summary(self, jobs: list[Job]) -> str:
        return f"{sum(job.final for job in jobs)} of {self._total or len(jobs)} done · {counts_text(jobs)}"


def counts_text(jobs: list[Job]) -> str:
    """`3 passed, 1 flaky, 2 queued`."""
    counts = Counter(str(job.outcome or job.status) for job in jobs)
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


def installs_text(jobs: list[Job]) -> str:
    """`2 installs`: how many attempts of these jobs waited for one, as a run counts them."""
    count = sum(attempt.install_ms is not None for job in jobs for attempt in job.attempts)
    return f"{count} install{'' if count == 1 else 's'}"
