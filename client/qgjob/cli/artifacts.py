"""`qgjob artifacts …`"""

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob._artifacts import Artifact, ArtifactOmission
from qgjob._enums import ArtifactKind
from qgjob.cli import options
from qgjob.cli.blame import THE_JOB
from qgjob.cli.options import Coordinator, OrgId, Output, RunId
from qgjob.cli.runner import execute, org_of, tell
from qgjob.cli.settings import Settings
from qgjob.cli.sizes import size_words

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer(no_args_is_help=True, help="Files that attempts left: logs, screenshots, videos, results.")

Jobs = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Ids of jobs.", show_default=False)]
Attempt = Annotated[
    int | None, typer.Option(parser=options.number(1), metavar="N", help="Only of this attempt of each job.")
]
Kinds = Annotated[
    list[ArtifactKind] | None, typer.Option("--kind", case_sensitive=False, help="Only what shows this; repeatable.")
]
Name = Annotated[str | None, typer.Option(metavar="GLOB", help="Only files with such a name, as in '*.png'.")]

OUTPUT_NAME = "log.txt"
"""What an attempt printed, among its evidence."""

_TYPED = {**THE_JOB, "run_id": "--run-id", "org_id": "--org-id", "attempt": "--attempt"}


async def jobs_of(
    client: "AsyncClient", settings: Settings, jobs: list[str] | None, org_id: str | None, run_id: str | None
) -> list[str]:
    """The jobs that are named, or those of a run. Raises InvalidError unless it is one or the other."""
    if bool(jobs) == bool(run_id):
        hint = "not both" if jobs else "one of them is needed"
        raise options.usage("JOB", f"name jobs, or a run with --run-id; {hint}")
    if jobs:
        return list(options.job_ids(jobs))
    return [job.job_id async for job in client.list(org_of(org_id, settings), run_id=run_id, page_size=1000)]


async def kept_of(
    client: "AsyncClient", job_ids: list[str], attempt: int | None = None
) -> tuple[list[Artifact], list[ArtifactOmission]]:
    """What is kept of jobs, of one org after the other, and what was left out."""
    orgs: dict[str, list[str]] = {}
    for each in job_ids:
        orgs.setdefault(each.partition("~")[0], []).append(each)
    found = [one for ids in orgs.values() async for one in client.list_artifacts(ids, attempt=attempt)]
    artifacts = [each for each in found if isinstance(each, Artifact)]
    return artifacts, [each for each in found if isinstance(each, ArtifactOmission)]


def _wanted(artifacts: list[Artifact], kinds: list[ArtifactKind] | None, name: str | None) -> list[Artifact]:
    return [
        each
        for each in artifacts
        if (not kinds or each.kind in kinds) and (name is None or fnmatchcase(each.name, name))
    ]


def _none_of(found: list[Artifact]) -> str:
    """Why there is nothing to show of these."""
    if found:
        return f"no files: none of the {len(found)} is what --kind and --name ask for"
    return "no files: an attempt's are sent when its result is; they are removed by their age"


def tell_omissions(omissions: list[ArtifactOmission]) -> None:
    """What was left out, a line for each attempt."""
    for each in omissions:
        what = f"{each.files} files ({size_words(each.size_bytes)}) were left out: " if each.files else ""
        tell(f"{each.job_id} attempt {each.attempt}: {what}{each.reason}")


@app.command("ls")
def ls(
    jobs: Jobs = None,
    org_id: OrgId = None,
    run_id: RunId = None,
    attempt: Attempt = None,
    kind: Kinds = None,
    name: Name = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """List what is kept of jobs, or of all jobs of a run."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.content_tables import artifact_table  # noqa: PLC0415 - Rich, which `--help` can do without

        found, omissions = await kept_of(client, await jobs_of(client, settings, jobs, org_id, run_id), attempt)
        shown = _wanted(found, kind, name)
        left_out = [each.to_dict() for each in omissions]
        printer.many("artifacts", shown, artifact_table, omissions=left_out, next_page_token=None)
        if printer.output != "json":
            tell_omissions(omissions)
            if not shown:
                tell(_none_of(found))

    execute(work, output=output, coordinator=coordinator, typed=_TYPED)


@app.command("get")
def get(
    jobs: Jobs = None,
    org_id: OrgId = None,
    run_id: RunId = None,
    to: Annotated[str, typer.Option("--to", metavar="DIR", help="Folder that gets JOB/ATTEMPT/NAME.")] = "artifacts",
    attempt: Attempt = None,
    kind: Kinds = None,
    name: Name = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Fetch what is kept of jobs, or of all jobs of a run. What is there already is not fetched again."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from pathlib import Path  # noqa: PLC0415

        from qgjob.cli.content_tables import kept_table  # noqa: PLC0415
        from qgjob.cli.evidence import keep  # noqa: PLC0415 - keeps `--help` quick

        found, omissions = await kept_of(client, await jobs_of(client, settings, jobs, org_id, run_id), attempt)
        shown = _wanted(found, kind, name)
        done = await keep(client, shown, Path(to))
        left_out = [each.to_dict() for each in omissions]
        printer.many("artifacts", done, kept_table, omissions=left_out)
        if printer.output != "json":
            tell_omissions(omissions)
        if not shown:
            tell(_none_of(found))
            return
        size = sum(each.artifact.size_bytes for each in done if each.fetched)
        tell(f"{sum(each.fetched for each in done)} of {len(done)} files were fetched to {to} ({size_words(size)})")

    execute(work, output=output, coordinator=coordinator, patient=True, typed=_TYPED)
