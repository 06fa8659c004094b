"""`qgjob suites …`"""

from typing import TYPE_CHECKING, Annotated

import typer

from qgjob.cli.options import Coordinator, OrgId, Output
from qgjob.cli.runner import execute, org_of, tell
from qgjob.cli.sending import Sent
from qgjob.cli.settings import Settings
from qgjob.cli.sizes import size_words

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._suite_archive import PackedSuite
    from qgjob._suites import PushedSuite
    from qgjob.cli.printer import Printer

app = typer.Typer(no_args_is_help=True, help="Push test projects, and look at them.")

TYPED = ("suite", "name", "size_bytes", "digest", "chunk")
"""Fields of a push that are of the folder that was named."""


async def push_told(client: "AsyncClient", org_id: str, suite: "PackedSuite") -> "PushedSuite":
    """Pushes a suite, and says so where bytes are sent. Raises QgjobError."""
    pushed = await client.push_suite(org_id, suite, on_progress=Sent(f"suite {suite.name}"))
    if pushed.uploaded:
        tell(f"suite {suite.name}: {len(suite.paths)} files, {size_words(suite.size_bytes)} sent as {suite.digest}")
    return pushed


@app.command("push")
def push(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="The folder of a test project.")],
    org_id: OrgId = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Let an org have a test project: what git tracks or does not ignore, without node_modules."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob._suite_archive import PackedSuite  # noqa: PLC0415 - keeps `--help` quick
        from qgjob.cli.content_tables import suite_facts  # noqa: PLC0415

        org = org_of(org_id, settings)
        with await PackedSuite.of(folder) as packed:
            pushed = await push_told(client, org, packed)
        if not pushed.uploaded:
            tell("the org has that suite already: nothing was sent")
        printer.one(pushed, suite_facts)

    typed = {"org_id": "--org-id", **dict.fromkeys(TYPED, "DIR")}
    execute(work, output=output, coordinator=coordinator, patient=True, typed=typed)


@app.command("ls")
def ls(org_id: OrgId = None, output: Output = None, coordinator: Coordinator = None) -> None:
    """List the suites of an org, the last pushed first."""

    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> None:
        from qgjob.cli.content_tables import suite_table  # noqa: PLC0415

        org = org_of(org_id, settings)
        found = [suite async for suite in client.list_suites(org)]
        printer.many("suites", found, suite_table, next_page_token=None)
        if not found and printer.output != "json":
            tell("no suites: none has been pushed; `qgjob suites push` does that, and `submit --suite`")

    execute(work, output=output, coordinator=coordinator, typed={"org_id": "--org-id"})
