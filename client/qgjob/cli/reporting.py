"""`report`."""

from typing import TYPE_CHECKING, Annotated

import typer

from qgjob.cli import exit_codes
from qgjob.cli.options import Coordinator, OrgId, Output, required
from qgjob.cli.runner import execute, org_of, tell
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer()

_TYPED = {"run_id": "--run-id", "org_id": "--org-id"}


@app.command()
def report(
    org_id: OrgId = None,
    run_id: Annotated[str | None, typer.Option(help="The run.")] = None,
    junit: Annotated[
        str | None, typer.Option("--junit", metavar="FILE", help="Write it as JUnit XML too, retries as reruns.")
    ] = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Say what became of a run's tests: those that failed, and those that a device or an agent failed.

    Exits 0 whatever the verdicts are; `qgjob wait --run-id` tells them by its exit code.
    """

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> int:
        from pathlib import Path  # noqa: PLC0415

        from qgjob._errors import NotFoundError  # noqa: PLC0415 - keeps `--help` quick
        from qgjob.cli.afterwards import check_file, singles_of, write_junit  # noqa: PLC0415
        from qgjob.cli.artifacts import kept_of  # noqa: PLC0415
        from qgjob.cli.job_tables import report_table  # noqa: PLC0415
        from qgjob.cli.results import report as report_of  # noqa: PLC0415

        org, run = org_of(org_id, settings), required(run_id, "--run-id")
        if junit is not None:
            check_file(junit)
        jobs = [job async for job in client.list(org, run_id=run, page_size=1000)]
        if not jobs:
            raise NotFoundError(f"org {org} has no jobs in run {run}", field="run_id")
        kept, _ = await kept_of(client, [job.job_id for job in jobs])
        singles = await singles_of(client, jobs, kept)
        reports = [report_of(job, singles.get(job.job_id, {})) for job in reversed(jobs)]
        printer.many("tests", reports, report_table)
        unfinished = sum(not job.final for job in jobs)
        if unfinished:
            tell(f"{unfinished} of {len(jobs)} have no verdict yet")
        written = junit is None or write_junit(Path(junit), run, reports)
        return exit_codes.OK if written else exit_codes.FAILURE

    execute(work, output=output, coordinator=coordinator, typed=_TYPED)
