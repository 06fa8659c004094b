"""`qgjob builds …`"""

from typing import TYPE_CHECKING, Annotated

import typer

from qgjob.cli import options
from qgjob.cli.options import Coordinator, OrgId, Output
from qgjob.cli.runner import execute, org_of, tell
from qgjob.cli.sending import Sent
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer(no_args_is_help=True, help="Push builds of app versions, and look at them.")


@app.command("push")
def push(
    file: Annotated[str, typer.Argument(metavar="FILE", help="An .apk, .aab, .ipa, or a .zip of an .app folder.")],
    org_id: OrgId = None,
    app_version_id: Annotated[str | None, typer.Option(help="The app version that it is a build of.")] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of another build for the same devices.")
    ] = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Give an app version a build; its jobs' devices install the one that fits them."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from pathlib import Path  # noqa: PLC0415

        from qgjob.cli.content_tables import pushed_facts  # noqa: PLC0415 - Rich, which `--help` can do without

        org = org_of(org_id, settings)
        version = options.required(app_version_id, "--app-version-id")
        told = Sent(Path(file).name)
        pushed = await client.push_build(org, version, file, replace=replace, on_progress=told)
        if not pushed.uploaded:
            tell("the org has that content already: nothing was sent")
        printer.one(pushed, pushed_facts)

    typed = {
        "org_id": "--org-id",
        "app_version_id": "--app-version-id",
        "path": "FILE",
        "file_name": "FILE",
        "size_bytes": "FILE",
        "digest": "FILE",
    }
    execute(work, output=output, coordinator=coordinator, patient=True, typed=typed)


@app.command("ls")
def ls(
    org_id: OrgId = None,
    app_version_id: Annotated[str | None, typer.Option(help="Only builds of this app version.")] = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """List the builds of an org."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.content_tables import build_table  # noqa: PLC0415

        org = org_of(org_id, settings)
        found = [build async for build in client.list_builds(org, app_version_id=app_version_id)]
        printer.many("builds", found, build_table, next_page_token=None)
        if not found and printer.output != "json":
            tell("no builds: none has been pushed; `qgjob builds push` does that")

    typed = {"org_id": "--org-id", "app_version_id": "--app-version-id"}
    execute(work, output=output, coordinator=coordinator, typed=typed)
