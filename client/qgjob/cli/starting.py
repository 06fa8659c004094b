"""From a submission to its end: the jobs are sent, and where that is asked for, waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from qgjob._errors import QgjobError
from qgjob._models import Bond, Job
from qgjob.cli import exit_codes, options
from qgjob.cli.blame import Wanted, in_flags, in_options
from qgjob.cli.bonds import alive
from qgjob.cli.ci_words import Ci
from qgjob.cli.guard import present
from qgjob.cli.runner import execute, process_environment, tell
from qgjob.cli.settings import Settings
from qgjob.cli.submission import Submission
from qgjob.cli.unserved import hints, unserved, warnings
from qgjob.cli.waiting import command_on

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer
    from qgjob.cli.verdicts import Goal

DISCONNECT_SECONDS = 60.0


@dataclass(frozen=True)
class WaitOptions:
    """How the jobs are waited for. `ci` is None for a command without that option, which tells none."""

    timeout: str | None = None
    fail_fast: bool = False
    fail_on_flaky: bool = False
    cancel_on_interrupt: bool = False
    cancel_on_disconnect: bool = False
    disconnect_after: str | None = None
    artifacts: str | None = None
    junit: str | None = None
    ci: Ci | None = None

    def bond(self) -> Bond | None:
        """What binds the run to this command. Raises InvalidError naming the option."""
        if not self.cancel_on_disconnect:
            if self.disconnect_after is not None:
                raise options.usage("--disconnect-after", "goes with --cancel-on-disconnect")
            return None
        return Bond(options.seconds(self.disconnect_after, "--disconnect-after") or DISCONNECT_SECONDS)


def start(given: Submission, waiting: WaitOptions | None, output: str | None, coordinator: str | None) -> None:
    """Submit what is given, print it, and with `waiting` wait for the verdicts; leaves with the exit code."""

    async def work(client: AsyncClient, printer: Printer, settings: Settings) -> int | None:
        from qgjob._wire_jobs import read_jobs  # noqa: PLC0415 - keeps `--help` quick
        from qgjob.cli.interrupting import submitted  # noqa: PLC0415
        from qgjob.cli.job_tables import job_table  # noqa: PLC0415
        from qgjob.cli.limit import Limit  # noqa: PLC0415
        from qgjob.cli.verdicts import await_verdicts, print_jobs  # noqa: PLC0415

        limit = Limit.from_now(waiting.timeout if waiting else None)
        bond = waiting.bond() if waiting else None
        submission = given.with_run(bound=bond is not None)
        try:
            async with limit.block():
                wanted = await _with_suite(client, submission, settings)
        except TimeoutError:
            tell("error: --timeout: is over before the suite was sent; nothing was submitted")
            return exit_codes.TIMEOUT
        present().hide(_secrets(settings, wanted))
        org_id = wanted[0].spec.org_id
        run = (org_id, submission.run_id) if submission.run_id else None
        ended = _ended(client, waiting, wanted, settings, submission)

        def goal_of(jobs: Sequence[Job]) -> Goal:
            goal = _goal(client, jobs, waiting or WaitOptions(), run, coordinator)
            return replace(goal, limit=limit, bond=bond, ended=ended)

        async with alive(client, org_id, submission.run_id, bond, limit):
            try:
                specs = [each.spec for each in wanted]
                submitting = client._submitting(specs, "full", bond)  # noqa: SLF001 - of this package
                try:
                    jobs = await submitted(client, submitting, goal_of, limit)
                except (asyncio.CancelledError, QgjobError) as error:
                    if isinstance(error, asyncio.CancelledError) or submitting.begun:
                        printer.cut_short("jobs", read_jobs(submitting.answered))
                    raise
                except TimeoutError:
                    print_jobs(printer, read_jobs(submitting.answered))
                    return exit_codes.TIMEOUT
            except QgjobError as error:
                raise in_flags(error, wanted, org_is_flag=bool(submission.org_id)) from error
            if waiting is not None:
                _tell_known(printer, jobs)
                return await await_verdicts(
                    client, printer, goal_of(jobs), jobs, lambda: _tell_hints(client, unserved(jobs))
                )
        never = unserved(jobs)
        printer.many("jobs", jobs, job_table)
        _tell_known(printer, jobs)
        for line in warnings(never):  # whoever waits is told of each job by the progress
            tell(line)
        await _tell_hints(client, never)
        return None

    timeout, ci = (waiting.timeout, waiting.ci) if waiting else (None, None)
    waits, ci = waiting is not None, ci or Ci.AUTO  # not told, it reads what is printed all the same
    execute(work, output=output, coordinator=coordinator, patient=True, waits=waits, timeout=timeout, ci=ci)


def _ended(
    client: AsyncClient,
    waiting: WaitOptions | None,
    wanted: Sequence[Wanted],
    settings: Settings,
    submission: Submission,
) -> Callable[[Sequence[Job]], Awaitable[int]] | None:
    """What is done with the jobs at their end, if anything is. Raises InvalidError for where it can't be put."""
    if waiting is None:
        return None
    ci = waiting.ci or Ci.NONE
    if ci is Ci.NONE and waiting.artifacts is None and waiting.junit is None:
        return None
    from qgjob.cli.afterwards import Outputs, afterwards  # noqa: PLC0415 - only who wants a report pays for it

    secrets = _secrets(settings, wanted)
    environment, suite = process_environment(), submission.suite
    outputs = Outputs.of(waiting.artifacts, waiting.junit, ci, secrets, environment, suite)
    title = submission.run_id or wanted[0].spec.org_id
    return (lambda jobs: afterwards(client, jobs, outputs, title)) if outputs.wanted else None


def _secrets(settings: Settings, wanted: Sequence[Wanted]) -> list[str | None]:
    """What no CI is to show."""
    return [settings.token, *(value for each in wanted for value in (each.spec.env or {}).values())]


async def _with_suite(client: AsyncClient, submission: Submission, settings: Settings) -> list[Wanted]:
    """The jobs; their suite is pushed, where there is one. Raises InvalidError naming the option."""
    if submission.suite is None:
        return submission.wanted(settings)
    from qgjob._suite_archive import PackedSuite  # noqa: PLC0415 - only who has one pays for it
    from qgjob.cli.suites import TYPED, push_told  # noqa: PLC0415

    try:
        with await PackedSuite.of(submission.suite) as packed:
            wanted = submission.wanted(settings, packed)
            await push_told(client, wanted[0].spec.org_id, packed)
    except QgjobError as error:
        raise in_options(error, dict.fromkeys(TYPED, "--suite")) from error
    return wanted


def _tell_known(printer: Printer, jobs: Sequence[Job]) -> None:
    """How many jobs are not new: the table may lack the room to say so, JSON has it."""
    known = sum(bool(job.deduplicated) for job in jobs)
    if known and printer.output == "table":
        tell(f"{known} of {len(jobs)} {'was' if known == 1 else 'were'} there already: an equal job is unfinished")


async def _tell_hints(client: AsyncClient, jobs: Sequence[Job]) -> None:
    for line in await hints(client, jobs):
        tell(line)


def _goal(
    client: AsyncClient,
    jobs: Sequence[Job],
    waiting: WaitOptions,
    run: tuple[str, str] | None,
    coordinator: str | None,
) -> Goal:
    from qgjob.cli.verdicts import Goal  # noqa: PLC0415 - keeps `--help` quick

    ids = tuple(dict.fromkeys(job.job_id for job in jobs))
    return Goal(
        follow=lambda: client.follow(ids),
        resume=command_on("wait", ids, run, coordinator),
        total=len(ids),
        run=run,
        own=tuple(job.job_id for job in jobs if not job.deduplicated),
        fail_fast=waiting.fail_fast,
        fail_on_flaky=waiting.fail_on_flaky,
        cancel_on_interrupt=waiting.cancel_on_interrupt or waiting.cancel_on_disconnect,
        coordinator=coordinator,
    )
