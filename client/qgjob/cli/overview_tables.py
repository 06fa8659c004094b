"""The state of a coordinator, and the settings of the command, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import RenderableType

from qgjob._fleet import Health, Stats
from qgjob.cli.render import facts, grid
from qgjob.cli.settings import Setting
from qgjob.cli.tables import Column


def stats_facts(stats: Stats) -> RenderableType:
    """Counts."""
    queue, scheduler = stats.queue.to_dict(), stats.scheduler.to_dict()
    devices = {f"devices {name}": count for name, count in scheduler.pop("devices").items()}
    agents = {"agents online": scheduler.pop("agents_online")}
    return facts((name.replace("_", " "), value) for name, value in (queue | agents | devices | scheduler).items())


def health_facts(health: Health, stats: Stats | None) -> RenderableType:
    """What a coordinator says of itself, and how much it has to do."""
    rows: list[tuple[str, object]] = [("address", health.address), ("status", health.status)]
    if health.reason is not None:
        rows.append(("reason", health.reason))
    if stats is not None:
        devices = stats.scheduler.devices
        rows += [
            ("jobs", f"{stats.queue.queued} queued, {stats.queue.scheduled} scheduled, {stats.queue.running} running"),
            ("agents online", stats.scheduler.agents_online),
            ("devices", f"{devices.total} ({devices.idle} idle, {devices.busy} busy, {devices.offline} offline)"),
        ]
    return facts(rows)


def settings_table(settings: Sequence[Setting]) -> RenderableType:
    """Settings, a line each, with where they were set."""
    rows = [[setting.name, setting.value, setting.origin] for setting in settings]
    return grid([Column("SETTING"), Column("VALUE"), Column("ORIGIN")], rows)
