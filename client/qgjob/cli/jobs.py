"""Commands on jobs that exist: status, list, explain, cancel, retry, logs, groups."""

from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob._enums import FINAL_STATUSES, JobStatus
from qgjob._errors import QgjobError
from qgjob.cli import options
from qgjob.cli.blame import ORG_SETTING, THE_JOB
from qgjob.cli.options import Coordinator, JobArgument, JobIdOption, OrgId, Output, Reason, RunId, StatusFilter
from qgjob.cli.runner import execute, org_of, tell
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Job, JobSelection
    from qgjob.cli.printer import Printer

app = typer.Typer()

MAX_PAGE_SIZE = 1000


@app.command()
def status(
    job: JobArgument = None, job_id: JobIdOption = None, output: Output = None, coordinator: Coordinator = None
) -> None:
    """Show one job. Exits 0 whatever its verdict is."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.job_tables import job_facts  # noqa: PLC0415 - Rich, which `--help` can do without

        found, held, now = await client.get(options.one_job(job, job_id)), None, datetime.now(UTC)
        if printer.output == "table" and found.status in (JobStatus.SCHEDULED, JobStatus.RUNNING):
            held = await _held(client, found, now)
        printer.one(found, lambda job: job_facts(job, now, held))

    execute(work, output=output, coordinator=coordinator, typed=THE_JOB)


async def _held(client: "AsyncClient", job: "Job", now: datetime) -> str | None:
    """What there is to say of the agent that has the job: that it is gone, for one. None if that is nothing new."""
    from qgjob.cli.moments import in_local_time  # noqa: PLC0415

    with suppress(QgjobError):  # the job is there to be shown
        found = await client.explain(job.job_id)
        if found.job.status is job.status and found.job.pending_reason is None and found.summary:
            told = in_local_time(found.summary, now)
            return None if told == f"it runs on {job.device_id}" else told
    return None


@app.command("list")
def list_jobs(
    org_id: OrgId = None,
    status: StatusFilter = None,
    run_id: RunId = None,
    page_size: Annotated[
        int,
        typer.Option(parser=options.number(1, MAX_PAGE_SIZE), metavar=f"1..{MAX_PAGE_SIZE}", help="Jobs of one page."),
    ] = 100,
    page_token: Annotated[str | None, typer.Option(help="next_page_token of the page before.")] = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """List the jobs of an org, newest first, a page at a time."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.job_tables import job_table  # noqa: PLC0415

        org = org_of(org_id, settings)
        page = await client.list_page(org, status=status, run_id=run_id, page_size=page_size, page_token=page_token)
        more = {"next_page_token": page.next_page_token, "org_id": page.org_id, "status_filter": page.status_filter}
        printer.many("jobs", page.jobs, job_table, **more)
        if not page.jobs and printer.output != "json":
            wanted = [f"with status {status}" if status else "", f"in run {run_id}" if run_id else ""]
            tell(" ".join(filter(None, [f"no {'more ' if page_token else ''}jobs of org {org}", *wanted])))
        if page.next_page_token and printer.output != "json":
            tell(f"there are more: --page-token={page.next_page_token}")

    org_typed = "--org-id" if org_id else ORG_SETTING
    typed = {"org_id": org_typed, "run_id": "--run-id", "page_token": "--page-token"}
    execute(work, output=output, coordinator=coordinator, typed=typed)


@app.command()
def explain(
    job: JobArgument = None, job_id: JobIdOption = None, output: Output = None, coordinator: Coordinator = None
) -> None:
    """Say why a job waits, and what each device has to do with it."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.explaining import explanation  # noqa: PLC0415

        now = datetime.now(UTC)
        printer.one(await client.explain(options.one_job(job, job_id)), lambda found: explanation(found, now))

    execute(work, output=output, coordinator=coordinator, typed=THE_JOB)


@app.command()
def cancel(
    job: JobArgument = None,
    job_id: JobIdOption = None,
    org_id: OrgId = None,
    run_id: RunId = None,
    status: Annotated[list[JobStatus] | None, typer.Option(help="Only jobs with this status; repeatable.")] = None,
    reason: Reason = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Cancel a job, or those of a run or of a status. Jobs that other runs share only leave the run."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.job_tables import job_facts  # noqa: PLC0415

        if run_id is None and not status:
            printer.one(
                await client.cancel(options.one_job(job, job_id, "--run-id or --status"), reason=reason), job_facts
            )
            return
        if job or job_id:
            raise options.usage("--run-id", "give one job, or --run-id and --status, not both")
        for each in status or ():
            if each in FINAL_STATUSES:
                raise options.usage("--status", f"jobs that are {each} have their verdict, and can't be cancelled")
        org = org_of(org_id, settings)
        selection = await client.cancel_many(org, run_id=run_id, statuses=status or (), reason=reason)
        _print_selection(printer, selection, detached=selection.detached)
        if not selection.count and printer.output != "json":
            of = " or ".join(status or ("unfinished",))
            tell(f"nothing to cancel: no job of org {org}{f' in run {run_id}' if run_id else ''} is {of}")
        if selection.detached:
            jobs = "1 job" if selection.detached == 1 else f"{selection.detached} jobs"
            verb, own = (
                ("goes", "a submission of its own") if selection.detached == 1 else ("go", "submissions of their own")
            )
            tell(f"{jobs} left this run and {verb} on, kept by other runs or {own}")

    execute(work, output=output, coordinator=coordinator, patient=True, typed=THE_JOB)


@app.command()
def retry(
    job: JobArgument = None,
    job_id: JobIdOption = None,
    org_id: OrgId = None,
    run_id: RunId = None,
    failed_only: Annotated[bool, typer.Option("--failed-only", help="Leave cancelled jobs alone.")] = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Start a new round of a failed or cancelled job, or of all those of a run. All attempts are kept."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.job_tables import job_facts  # noqa: PLC0415

        if run_id is None:
            if failed_only:
                raise options.usage("--failed-only", "goes with --run-id")
            printer.one(await client.retry(options.one_job(job, job_id, "--run-id")), job_facts)
            return
        if job or job_id:
            raise options.usage("--run-id", "give one job, or a run, not both")
        org = org_of(org_id, settings)
        selection = await client.retry_many(org, run_id, failed_only=failed_only)
        _print_selection(printer, selection)
        if not selection.count and not selection.equal and printer.output != "json":
            of = "failed" if failed_only else "failed or cancelled"
            tell(f"nothing to retry: no job of org {org} in run {run_id} is {of}")
        if selection.equal:
            tell(f"{_jobs(selection.equal)} left as {_it(selection.equal)}: an equal is unfinished")
        if failed_only and (cancelled := (await client.run(org, run_id)).status_counts.get("cancelled", 0)):
            tell(f"{_jobs(cancelled)} left as {_it(cancelled)}: cancelled, and only failed ones were asked for")

    execute(work, output=output, coordinator=coordinator, patient=True, typed=THE_JOB)


def _jobs(count: int) -> str:
    return "1 job is" if count == 1 else f"{count} jobs are"


def _it(count: int) -> str:
    return "it is" if count == 1 else "they are"


def _print_selection(printer: "Printer", selection: "JobSelection", **more: int) -> None:
    from qgjob.cli.job_tables import job_table  # noqa: PLC0415

    printer.many("jobs", selection.jobs, job_table, **{"count": selection.count, **more})
    if selection.count > len(selection.jobs):
        tell(f"{selection.count} jobs in all; the first {len(selection.jobs)} are shown")


@app.command()
def logs(
    job: JobArgument = None,
    job_id: JobIdOption = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the verdict.")] = False,
    attempt: Annotated[
        int | None,
        typer.Option(parser=options.number(1), metavar="N", help="Default: the latest, and with -f those after it."),
    ] = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Print the log of an attempt. With -o json or jsonl each line is a piece with its attempt and offset."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.log_gaps import Gaps  # noqa: PLC0415 - keeps `--help` quick

        current = attempt
        silent = True
        wanted = options.one_job(job, job_id)
        asked = await client.get(wanted)
        if asked.status is JobStatus.QUEUED and not asked.attempts:
            tell(f"--- the job is queued and did not run yet; `qgjob explain {wanted}` tells why")
            if not follow:
                return
        gaps = Gaps(client, asked)
        async with aclosing(client.logs(wanted, attempt=attempt, follow=follow)) as chunks:
            async for chunk in chunks:
                silent = False
                if current is not None and chunk.attempt != current:
                    tell(f"--- attempt {chunk.attempt}")
                current = chunk.attempt
                if chunk.skipped:
                    tell(await gaps.words(chunk))
                printer.log(chunk)
        if silent and not await _log_of_evidence(client, printer, wanted, attempt):
            tell(f"--- no output is kept; `qgjob status {wanted}` tells whether it ran, and when")

    execute(work, output=output, coordinator=coordinator, patient=follow, streams=True, typed=THE_JOB)


async def _log_of_evidence(client: "AsyncClient", printer: "Printer", job_id: str, attempt: int | None) -> bool:
    """Prints the log that is kept of an attempt when its tail is gone; False where there is none."""
    from qgjob._enums import ArtifactKind  # noqa: PLC0415 - keeps `--help` quick
    from qgjob._errors import UnsupportedError  # noqa: PLC0415
    from qgjob._models import LogChunk  # noqa: PLC0415
    from qgjob.cli.artifacts import OUTPUT_NAME, kept_of  # noqa: PLC0415

    try:
        kept, _ = await kept_of(client, [job_id], attempt)
    except UnsupportedError:  # a coordinator that keeps none
        return False
    logs = [each for each in kept if each.kind is ArtifactKind.LOG and each.name == OUTPUT_NAME]
    if not logs:
        return False
    log = max(logs, key=lambda each: each.attempt)
    tell(f"--- attempt {log.attempt}, from its evidence")
    offset = 0
    async with aclosing(client.fetch_artifact(log.job_id, log.attempt, log.name)) as pieces:
        async for piece in pieces:
            printer.log(LogChunk(log.attempt, offset, piece))
            offset += len(piece)
    return True


@app.command()
def groups(org_id: OrgId = None, output: Output = None, coordinator: Coordinator = None) -> None:
    """List the groups: unfinished jobs that share an org, an app version and a target."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.fleet_tables import group_table  # noqa: PLC0415

        org = org_id or settings.org_id
        found = [group async for group in client.groups(org)]
        now = datetime.now(UTC)
        printer.many("groups", found, lambda groups: group_table(groups, now), next_page_token=None)
        if not found and printer.output != "json":
            tell(f"no groups: there are no unfinished jobs{f' of org {org}' if org else ''}")

    execute(work, output=output, coordinator=coordinator)
