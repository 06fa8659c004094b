"""`qgjob agents …`"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob.cli import options
from qgjob.cli.options import Coordinator, For, Output, Reason, Until
from qgjob.cli.runner import execute, tell
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer(no_args_is_help=True, help="Look at the agents, drain all devices of one, forget one that is gone.")

AgentArgument = Annotated[str, typer.Argument(metavar="AGENT", help="The agent's id.")]


@app.command("ls")
def ls(output: Output = None, coordinator: Coordinator = None) -> None:
    """List the agents."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.fleet_tables import agent_table  # noqa: PLC0415 - Rich, which `--help` can do without

        found = [agent async for agent in client.agents()]
        printer.many("agents", found, agent_table, next_page_token=None)
        if not found and printer.output != "json":
            tell("no agents: none has connected to this coordinator yet")

    execute(work, output=output, coordinator=coordinator)


@app.command()
def drain(
    agent: AgentArgument,
    reason: Reason = None,
    until: Until = None,
    for_: For = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Let all devices of an agent finish what they run and take nothing new; prints them."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.fleet_tables import device_table  # noqa: PLC0415

        end = options.moment(until, for_, datetime.now(UTC))
        devices = await client.drain(agent_id=agent, reason=reason, until=end)
        printer.many("devices", devices, device_table, next_page_token=None)

    typed = {"agent_id": "AGENT", "reason": "--reason", **options.typed_end(until, for_)}
    execute(work, output=output, coordinator=coordinator, typed=typed)


@app.command()
def resume(agent: AgentArgument, output: Output = None, coordinator: Coordinator = None) -> None:
    """End the drain of an agent; prints its devices."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.fleet_tables import device_table  # noqa: PLC0415

        devices = await client.resume(agent_id=agent)
        printer.many("devices", devices, device_table, next_page_token=None)

    execute(work, output=output, coordinator=coordinator, typed={"agent_id": "AGENT"})


@app.command()
def forget(agent: AgentArgument, output: Output = None, coordinator: Coordinator = None) -> None:
    """Forget an agent that is gone for good, with its devices, their labels and their holds; prints them as they were.

    It has to be stopped, and what it ran given up. One that was not heard for RETENTION_DAYS is forgotten by itself.
    """

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.fleet_tables import device_table  # noqa: PLC0415

        devices = await client.forget_agent(agent)
        printer.many("devices", devices, device_table, next_page_token=None)

    execute(work, output=output, coordinator=coordinator, typed={"agent_id": "AGENT"})
