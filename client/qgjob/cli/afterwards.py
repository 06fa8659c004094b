"""What is done with a run's jobs when their verdicts are there: evidence fetched, reports written, the CI told."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections import defaultdict
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from qgjob._artifact_calls import JOBS_AT_ONCE
from qgjob._enums import ArtifactKind
from qgjob._errors import QgjobError
from qgjob.cli import exit_codes, options
from qgjob.cli.artifacts import kept_of, tell_omissions
from qgjob.cli.ci_words import MOST_SUMMARY_BYTES, Ci, Hidden, annotation_lines, section, summary, which
from qgjob.cli.clean import clean
from qgjob.cli.results import report
from qgjob.cli.runner import tell
from qgjob.cli.sizes import size_words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgjob._artifacts import Artifact
    from qgjob._client import AsyncClient
    from qgjob._models import Job
    from qgjob.cli.results import Single, TestReport

PATIENCE_SECONDS = 10.0
"""An agent sends what a test left when its result is told, so it may come a moment after the verdict."""
NOTHING_SECONDS = 3.0
"""Where nothing at all has come by then nothing is kept there, as of simulated devices."""
LOOK_SECONDS = 0.25
MOST_RESULT_BYTES = 20_000_000
AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class Outputs:
    """Where a run's evidence and reports go besides stdout. `tests_in`: see `annotation_lines`."""

    artifacts: Path | None = None
    junit: Path | None = None
    ci: Ci = Ci.NONE
    hidden: Hidden = field(default_factory=Hidden)
    summary: Path | None = None
    tests_in: str = ""

    @classmethod
    def of(
        cls,
        artifacts: str | None,
        junit: str | None,
        ci: Ci,
        secrets: Sequence[str | None],
        environment: Mapping[str, str],
        suite: str | None = None,
    ) -> Outputs:
        """Checks what is known before anything runs. Raises InvalidError naming the option."""
        if artifacts is not None and Path(artifacts).exists() and not Path(artifacts).is_dir():
            raise options.usage("--artifacts", f"{artifacts!r} is a file; name a folder")
        if junit is not None:
            check_file(junit)
        where = environment.get("GITHUB_STEP_SUMMARY")
        return cls(
            Path(artifacts) if artifacts else None,
            Path(junit) if junit else None,
            which(ci, environment),
            Hidden.of(secrets),
            Path(where) if where else None,
            _in_repository(Path(suite), environment) if suite is not None else "",
        )

    @property
    def wanted(self) -> bool:
        """Whether there is anything to do."""
        return self.artifacts is not None or self.junit is not None or self.ci is not Ci.NONE


def _in_repository(suite: Path, environment: Mapping[str, str]) -> str:
    """Where GitHub's copy of the repository has a suite; nothing where the suite is elsewhere."""
    root = Path(environment.get("GITHUB_WORKSPACE") or ".").resolve()
    whole = suite.resolve()
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else ""


def check_file(junit: str) -> None:
    """Whether a report can be written there. Raises InvalidError."""
    path = Path(junit)
    if path.is_dir():
        raise options.usage("--junit", f"{junit!r} is a folder; name a file")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise options.usage("--junit", f"{junit!r} can't be written: make the folder {str(path.parent)!r} first")


async def afterwards(client: AsyncClient, jobs: Sequence[Job], outputs: Outputs, title: str) -> int:
    """Does all of it. Gives 0, or 1 where something could not be done, which is told: the verdicts count for more."""
    code = exit_codes.OK
    kept: list[Artifact] = []
    try:
        if outputs.artifacts is not None or outputs.junit is not None:
            kept = await _awaited(client, jobs)
        if outputs.artifacts is not None:
            await _fetched(client, kept, outputs.artifacts)
    except QgjobError as error:
        tell(f"the evidence was not fetched: {error.message}")
        if outputs.artifacts is not None:  # a report says what it can without
            code = exit_codes.FAILURE
    singles = await singles_of(client, jobs, kept) if outputs.junit is not None else {}
    reports = [report(job, singles.get(job.job_id, {})) for job in jobs]
    if outputs.junit is not None and not write_junit(outputs.junit, title, reports):
        code = exit_codes.FAILURE
    if not _told_ci(outputs, title, reports):
        code = exit_codes.FAILURE
    return code


def write_junit(path: Path, title: str, reports: Sequence[TestReport]) -> bool:
    """False where it can't be, which is told."""
    from qgjob.cli.junit_file import write  # noqa: PLC0415 - only who wants a report pays for it

    try:
        write(path, title, reports)
    except OSError as error:
        tell(f"{str(path)!r} can't be written: {error.strerror or error}")
        return False
    tell(f"{len(reports)} {'job is' if len(reports) == 1 else 'jobs are'} reported in {path}")
    return True


async def singles_of(
    client: AsyncClient, jobs: Sequence[Job], artifacts: Sequence[Artifact]
) -> dict[str, dict[int, list[Single]]]:
    """The single tests of each attempt of the jobs' present rounds, by job; a file that can't be read is told."""
    from qgjob.cli.junit_file import JUnitFileError, read  # noqa: PLC0415 - only who wants a report pays for it

    rounds = {job.job_id: {a.attempt for a in job.attempts if a.round == job.round} for job in jobs}
    found: dict[str, dict[int, list[Single]]] = defaultdict(lambda: defaultdict(list))
    taking = asyncio.Semaphore(AT_ONCE)

    async def one(each: Artifact) -> None:
        async with taking:
            try:
                data = bytearray()
                async with aclosing(client.fetch_artifact(each.job_id, each.attempt, each.name)) as pieces:
                    async for piece in pieces:
                        data += piece
                found[each.job_id][each.attempt] += read(bytes(data))
            except (QgjobError, JUnitFileError) as error:
                tell(f"{each.name} of {each.job_id} attempt {each.attempt} was not read: {error}")

    wanted = [
        each
        for each in artifacts
        if each.kind is ArtifactKind.JUNIT
        and each.attempt in rounds.get(each.job_id, ())
        and each.size_bytes <= MOST_RESULT_BYTES
        and not each.name.startswith("late-")
    ]
    await asyncio.gather(*(one(each) for each in wanted))
    return found


async def _awaited(client: AsyncClient, jobs: Sequence[Job]) -> list[Artifact]:
    """What is kept of the jobs, once something of each last attempt is there, or nobody need wait for it any more."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    ids = [job.job_id for job in jobs]
    while True:
        waited = loop.time() - begun
        complete, nothing = await _complete(client, ids)
        missing = _expected(jobs, datetime.now(UTC)) - complete
        if not missing or waited > PATIENCE_SECONDS or (nothing and waited > NOTHING_SECONDS):
            kept, omissions = await kept_of(client, ids)
            tell_omissions(omissions)
            return kept
        await asyncio.sleep(LOOK_SECONDS)


async def _complete(client: AsyncClient, ids: Sequence[str]) -> tuple[set[tuple[str, int]], bool]:
    """Attempts of which all has come, and whether nothing is kept at all. Jobs of one invocation are of one org."""
    parts = [ids[at : at + JOBS_AT_ONCE] for at in range(0, len(ids), JOBS_AT_ONCE)]
    pages = [await client.artifacts_page(part, page_size=1) for part in parts]
    return {each for page in pages for each in page.complete}, not any(page.artifacts for page in pages)


def _expected(jobs: Sequence[Job], now: datetime) -> set[tuple[str, int]]:
    """Last attempts that ended so lately that their evidence may be on its way."""
    ended = [(job.job_id, job.attempts[-1]) for job in jobs if job.final and job.attempts]
    return {
        (job_id, last.attempt)
        for job_id, last in ended
        if last.started_at is not None
        and last.ended_at is not None
        and (now - last.ended_at).total_seconds() < 2 * PATIENCE_SECONDS
    }


async def _fetched(client: AsyncClient, kept: Sequence[Artifact], folder: Path) -> None:
    from qgjob.cli.evidence import keep  # noqa: PLC0415 - only who wants files pays for it

    if not kept:
        tell("no evidence is kept: the attempts left no files")
        return
    done = await keep(client, kept, folder)
    size = sum(each.artifact.size_bytes for each in done)
    files = "1 file of evidence is" if len(done) == 1 else f"{len(done)} files of evidence are"
    tell(f"{files} in {folder} ({size_words(size)})")


def _told_ci(outputs: Outputs, title: str, reports: Sequence[TestReport]) -> bool:
    if outputs.ci is Ci.GITHUB:
        for line in annotation_lines(reports, outputs.hidden, outputs.tests_in):
            print(f"::{clean(line.removeprefix('::'))}", file=sys.stderr, flush=True)  # a command, and meant
        return outputs.summary is None or _summarised(outputs.summary, title, reports, outputs.hidden)
    if outputs.ci is Ci.GITLAB:
        for line in section(reports, outputs.hidden, int(time.time())):
            print(line, file=sys.stderr, flush=True)
    return True


def _summarised(path: Path, title: str, reports: Sequence[TestReport], hidden: Hidden) -> bool:
    """Adds to the summary of the step, within what is left of its limit."""
    try:
        left = MOST_SUMMARY_BYTES - (path.stat().st_size if path.exists() else 0)
        text = summary(title, reports, hidden, max(left, 0))
        with path.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        tell(f"the summary of the step can't be written: {error.strerror or error}")
        return False
    if not text:
        tell("the summary of the step is full: nothing was added")
    return True
