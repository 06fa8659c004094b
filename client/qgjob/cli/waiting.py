"""`wait` and `watch`."""

import re
import shlex
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob._enums import WatchEventKind
from qgjob._errors import UnavailableError
from qgjob.cli import exit_codes, options
from qgjob.cli.blame import THE_JOB
from qgjob.cli.options import Coordinator, OrgId, Output, RunId
from qgjob.cli.runner import execute, org_of, tell
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer()

_TYPED = {**THE_JOB, "run_id": "--run-id", "org_id": "--org-id"}
_PLAIN = re.compile(r"[\w.=-][\w.=~:,-]*", re.ASCII)

Jobs = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Ids of jobs.", show_default=False)]
Timeout = Annotated[str | None, typer.Option(help="Stop waiting after this long, as in 90s or 30m; the jobs go on.")]
FailOnFlaky = Annotated[bool, typer.Option("--fail-on-flaky", help="Exit 10 when a test passed only on a retry.")]


def command_on(verb: str, job_ids: tuple[str, ...], run: tuple[str, str] | None, coordinator: str | None) -> str:
    """A command on a run (org, run) where one is named, else on jobs; with the coordinator if a flag named it."""
    arguments = job_ids if run is None else (f"--org-id={run[0]}", f"--run-id={run[1]}")
    if coordinator is not None:
        arguments = (f"--coordinator={coordinator}", *arguments)
    # A tilde within a word means nothing to a shell, though shlex would quote it.
    words = [word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in arguments]
    return " ".join(["qgjob", verb, *words])


@app.command()
def wait(
    jobs: Jobs = None,
    org_id: OrgId = None,
    run_id: RunId = None,
    timeout: Timeout = None,
    fail_on_flaky: FailOnFlaky = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Wait for the verdicts of jobs, or of a run; the exit code tells them.

    0 all passed, 10 a test failed, 18 nothing could serve a job, 19 cancelled, 20 infrastructure failed, 124 timeout.
    """

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> int:
        from qgjob.cli.limit import Limit  # noqa: PLC0415 - keeps `--help` quick
        from qgjob.cli.verdicts import Goal, await_verdicts  # noqa: PLC0415

        if jobs and run_id:
            raise options.usage("--run-id", "give jobs, or a run with --run-id, not both")
        if not jobs and not run_id:
            raise options.usage("JOB", "is missing; name the jobs to wait for, or their run with --run-id")
        ids = options.job_ids(jobs)
        run = (org_of(org_id, settings), run_id) if run_id else None
        goal = Goal(
            follow=lambda: client.follow_run(*run) if run else client.follow(ids),
            resume=command_on("wait", ids, run, coordinator),
            total=len(ids) or None,
            limit=Limit.from_now(timeout),
            fail_on_flaky=fail_on_flaky,
        )
        return await await_verdicts(client, printer, goal)

    execute(work, output=output, coordinator=coordinator, patient=True, waits=True, timeout=timeout, typed=_TYPED)


@app.command()
def watch(
    jobs: Jobs = None,
    org_id: OrgId = None,
    run_id: RunId = None,
    cursor: Annotated[str | None, typer.Option(help="Go on after this event of an earlier watch.")] = None,
    timeout: Annotated[str | None, typer.Option(help="Stop watching after this long, as in 90s or 30m.")] = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Print every transition: of the jobs that are named until they have their verdicts, else of a run or an org.

    With -o json or jsonl each line is an event with its cursor. With --cursor a verdict before it is shown too.
    Exits 5 when there is no such job, 124 when --timeout ends it.
    """

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> int | None:
        from qgjob._following import merged  # noqa: PLC0415 - keeps `--help` quick
        from qgjob._models import WatchEvent  # noqa: PLC0415
        from qgjob.cli import named  # noqa: PLC0415
        from qgjob.cli.limit import Limit  # noqa: PLC0415

        limit = Limit.from_now(timeout)
        ids = options.job_ids(jobs)
        org = ids[0].partition("~")[0] if ids and not org_id else org_of(org_id, settings)
        what = ids or (f"--org-id={org}", *([f"--run-id={run_id}"] if run_id else []))
        resume = command_on("watch", what, None, coordinator)
        watched: AsyncGenerator[WatchEvent | None] = client.watch(org, run_id=run_id, job_ids=ids, cursor=cursor)
        if ids and cursor:
            watched = merged([watched], named.SILENCE_SECONDS)
        jobs_named = named.Named(ids)
        endless = None if ids else named.Endless(f"run {run_id}" if run_id else f"org {org}")
        try:
            async with limit.block(), aclosing(watched) as events:
                async for event in events:
                    if event is None:
                        for job in await jobs_named.ask(client):
                            printer.event(WatchEvent(WatchEventKind.SNAPSHOT, None, job))
                    else:
                        printer.event(event)
                        await jobs_named.note(client, event)
                    if jobs_named.all_over:
                        return None
                    if endless is not None and event is not None and (line := endless.line(event)):
                        tell(line)
        except TimeoutError:
            tell(f"{limit.seconds:g} s are over. To resume: {resume}")
            return exit_codes.TIMEOUT
        except UnavailableError:
            tell(f"the watch is given up. To resume: {resume}")
            raise
        return None

    execute(
        work,
        output=output,
        coordinator=coordinator,
        patient=True,
        waits=True,
        streams=True,
        timeout=timeout,
        typed=_TYPED,
    )
