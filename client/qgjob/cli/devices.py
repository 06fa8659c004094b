"""`qgjob devices …`"""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob._enums import DeviceHealth
from qgjob._errors import NotFoundError, QgjobError
from qgjob._fleet import Agent, Device
from qgjob.cli import options
from qgjob.cli.options import Coordinator, For, Output, Reason, TargetFilter, Until
from qgjob.cli.runner import execute, tell
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer(no_args_is_help=True, help="Look at devices, and take them out of service and back.")

DeviceArgument = Annotated[str, typer.Argument(metavar="DEVICE", help="The device's id.")]
Labels = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="All the labels that it shall have.", show_default=False),
]
ReserveUntil = Annotated[
    str | None, typer.Option("--until", help="When it ends by itself, as in 2026-01-31T18:00Z. Required, or --for.")
]
ReserveFor = Annotated[
    str | None, typer.Option("--for", help="How long it lasts, as in 90s, 30m, 2h, 1d. Required, or --until.")
]
Extend = Annotated[
    bool, typer.Option("--extend", help="Give your reservation another end, later or earlier; its reason stays.")
]
AgentFilter = Annotated[str | None, typer.Option(help="Only devices of this agent.")]


def _change(
    change: Callable[["AsyncClient"], Awaitable[Device]],
    output: str | None,
    coordinator: str | None,
    end: Mapping[str, str] | None = None,
) -> None:
    """Run a call that answers with one device, and show that. `end` is what was typed for its `until`."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.fleet_tables import device_facts  # noqa: PLC0415 - Rich, which `--help` can do without

        printer.one(await change(client), device_facts)

    typed = {"device_id": "DEVICE", "reason": "--reason", **(end or {})}
    execute(work, output=output, coordinator=coordinator, typed=typed)


def _end(until: str | None, duration: str | None) -> datetime | None:
    return options.moment(until, duration, datetime.now(UTC))


@app.command("ls")
def ls(
    agent_id: AgentFilter = None, target: TargetFilter = None, output: Output = None, coordinator: Coordinator = None
) -> None:
    """List the devices."""

    async def work(client: "AsyncClient", printer: "Printer", _: Settings) -> None:
        from qgjob.cli.fleet_tables import device_table, unexplained  # noqa: PLC0415

        found = [device async for device in client.devices(agent_id=agent_id, target=target)]
        agents: list[Agent] = []
        if printer.output == "table" and any(unexplained(device) for device in found):
            with suppress(QgjobError):  # the devices are there to be shown
                agents = [agent async for agent in client.agents()]
        printer.many("devices", found, lambda devices: device_table(devices, agents), next_page_token=None)
        if not found and printer.output != "json":
            wanted = [f"of agent {agent_id}" if agent_id else "", f"of target {target}" if target else ""]
            tell(" ".join(filter(None, ["no devices", *wanted])))

    execute(work, output=output, coordinator=coordinator, typed={"agent_id": "--agent-id"})


@app.command()
def show(device: DeviceArgument, output: Output = None, coordinator: Coordinator = None) -> None:
    """Show one device."""

    async def find(client: "AsyncClient") -> Device:
        async for each in client.devices():
            if each.device_id == device:
                return each
        raise NotFoundError(f"device_id: no device {device!r}; `qgjob devices ls` lists them", field="device_id")

    _change(find, output, coordinator)


@app.command()
def drain(
    device: DeviceArgument,
    reason: Reason = None,
    until: Until = None,
    for_: For = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Let a device finish what it runs and take nothing new; holds from the moment that this returns."""

    async def change(client: "AsyncClient") -> Device:
        return (await client.drain(device_id=device, reason=reason, until=_end(until, for_)))[0]

    _change(change, output, coordinator, options.typed_end(until, for_))


@app.command()
def resume(device: DeviceArgument, output: Output = None, coordinator: Coordinator = None) -> None:
    """End a drain, a maintenance or a quarantine."""

    async def change(client: "AsyncClient") -> Device:
        return (await client.resume(device_id=device))[0]

    _change(change, output, coordinator)


@app.command()
def maintenance(
    device: DeviceArgument,
    reason: Reason = None,
    until: Until = None,
    for_: For = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Take a device out of service for work on it."""
    _set_health(device, DeviceHealth.MAINTENANCE, reason, until, for_, output, coordinator)


@app.command()
def quarantine(
    device: DeviceArgument,
    reason: Reason = None,
    until: Until = None,
    for_: For = None,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Take a device out of service because it can't be trusted."""
    _set_health(device, DeviceHealth.BAD, reason, until, for_, output, coordinator)


def _set_health(
    device: str,
    health: DeviceHealth,
    reason: str | None,
    until: str | None,
    duration: str | None,
    output: str | None,
    coordinator: str | None,
) -> None:
    async def change(client: "AsyncClient") -> Device:
        return await client.set_device_health(device, health, reason=reason, until=_end(until, duration))

    _change(change, output, coordinator, options.typed_end(until, duration))


@app.command()
def reserve(
    device: DeviceArgument,
    reason: Reason = None,
    until: ReserveUntil = None,
    for_: ReserveFor = None,
    extend: Extend = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Keep a device for yourself until a time; needs --for or --until."""

    async def change(client: "AsyncClient") -> Device:
        end = _end(until, for_)
        if end is None:
            raise options.usage("--for", "is required (or --until): a reservation ends by itself")
        return await client.reserve(device, until=end, reason=reason, extend=extend)

    _change(change, output, coordinator, options.typed_end(until, for_))


@app.command()
def release(device: DeviceArgument, output: Output = None, coordinator: Coordinator = None) -> None:
    """Give a reserved device back."""
    _change(lambda client: client.release(device), output, coordinator)


@app.command()
def label(
    device: DeviceArgument,
    labels: Labels = None,
    clear: Annotated[bool, typer.Option("--clear", help="Take all away that were set so.")] = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Set a device's labels in place of those set before; those of the agent's configuration stay."""

    async def change(client: "AsyncClient") -> Device:
        wanted = options.pairs(labels or (), "KEY=VALUE")
        if bool(wanted) == clear:
            raise options.usage("KEY=VALUE", "give labels, or --clear to take all away")
        return await client.set_labels(device, wanted)

    _change(change, output, coordinator)
