"""Devices and agents in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from qgjob_coordinator.model.enums import DeviceHealth, HoldKind, HoldSlot, Target
from qgjob_coordinator.model.fleet import DeviceInfo, Hold
from qgjob_coordinator.policy.estimates.measurement import reported_ms
from qgjob_coordinator.store import codec, health, keys, names
from qgjob_coordinator.store.health import RECORD, Kept
from qgjob_coordinator.store.scripts import Arg, ScriptRunner
from qgjob_coordinator.store.types.holds import ForgetWord, Forgotten, Held, HoldRule, HoldWord

UNCHANGED = "-"
_FIELDS = {slot: f"hold:{slot}" for slot in HoldSlot}


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device as the store has it: its wear in installations and ms of work; `labels` are those that operators set.

    `free_at` (ms) is when it is expected to have done what it holds; None where it holds nothing.
    `installed_at` (ms) is when what lies on it was installed, 0 where no coordinator saw that. `gone_at` (ms) is when
    retention first saw that its agent shows it no more.
    `holds` are the words of operators; the quarantine that its failures led to stands in its record.
    """

    info: DeviceInfo
    agent_id: str
    present: bool
    job_id: str | None
    installs: int
    busy_ms: int
    seen_at: int | None
    holds: tuple[Hold, ...]
    labels: Mapping[str, str]
    kept: Kept = field(default_factory=Kept)
    free_at: int | None = None
    installed_at: int = 0
    gone_at: int | None = None


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent as the store has it; `state` is the session's: open, timed_out, detached or closed."""

    agent_id: str
    epoch: int
    state: str
    facts: Mapping[str, str]
    coordinator: str
    connected_at: int | None
    seen_at: int | None
    holds: tuple[Hold, ...]
    holds_seen: int
    devices: tuple[DeviceRow, ...]


@dataclass(frozen=True, slots=True)
class Occupancy:
    """What a device does now. `installed` is (org, app version), None for no change, `installed_at` (ms) when it was.

    `installs` (by org) and `busy_ms` are what came to its wear since the last time. `install_ms` is what one of its
    installations took, `ran_ms` what a test took on it; the fleet learns from them. `free_at` (ms) is when it is
    expected to have done what it holds.
    """

    device_id: str
    job_id: str | None
    installed: tuple[str, str] | None = None
    installs: Mapping[str, int] = field(default_factory=dict)
    busy_ms: int = 0
    install_ms: int | None = None
    ran_ms: int | None = None
    free_at: int | None = None
    installed_at: int = 0


class FleetStore:
    """Reads and writes of the fleet's tag that no session depends on."""

    def __init__(self, runner: ScriptRunner) -> None:
        self._runner = runner

    async def inventory(
        self,
        agent_id: str,
        epoch: int,
        changed: Sequence[DeviceInfo],
        gone: Sequence[str],
        now: int,
        *,
        complete: bool,
    ) -> bool:
        """What an agent shows of its devices; `complete` when these are all. False: the session is over."""
        args: list[Arg] = [agent_id, epoch, now, "1" if complete else "", len(changed)]
        for d in changed:
            installed = f"{d.org_id} {d.app_version_id}" if d.org_id and d.app_version_id else ""
            args += (d.device_id, _facts(d), installed)
        args += gone
        return bool(await self._runner.run("inventory", keys.FLEET, args) == "OK")

    async def occupy(self, agent_id: str, epoch: int, rows: Sequence[Occupancy], now: int) -> bool:
        """What devices do now. False: the session is over."""
        args: list[Arg] = [agent_id, epoch, now]
        for r in rows:
            installed = UNCHANGED if r.installed is None else " ".join(r.installed)
            done = "".join(f"{org_id} {n} " for org_id, n in r.installs.items())
            args += (r.device_id, r.job_id or "", installed, done, r.busy_ms)
            args += (_measured(r.install_ms), _measured(r.ran_ms), "" if r.free_at is None else r.free_at)
            args.append(f"{installed} {r.installed_at}")
        return bool(await self._runner.run("occupy", keys.FLEET, args) == "OK")

    async def set_holds(
        self,
        kind: str,
        id_: str,
        holds: Mapping[HoldSlot, Hold | None],
        now: int,
        operation_id: str,
        rule: HoldRule = HoldRule.NONE,
    ) -> Held:
        """Sets holds of a device (`kind` "dv") or an agent ("ag"), or ends them (None), if the rule allows it at `now`.

        A word on the health that ends clears what is kept of the device's failures, and the quarantine of that. What
        was done under an operation id is not done again.
        """
        args: list[Arg] = [kind, id_, now, rule.value, operation_id, keys.OPERATION_TTL_MS]
        for slot, hold in holds.items():
            value = "" if hold is None else names.dumps({"k": hold.kind, "r": hold.reason, "u": hold.until})
            args += (_FIELDS[slot], value)
            if slot is HoldSlot.HEALTH and hold is None and kind == "dv":
                args += (RECORD, "")
        word, number, agent_id, reservation = await self._runner.run("hold", keys.FLEET, args)
        return Held(HoldWord(word), int(number), agent_id, _hold(reservation) if reservation else None)

    async def hold_number(self) -> int:
        """Sequence number of the newest hold."""
        return int(await self._runner.run("holds", keys.FLEET, []))

    async def confirm_holds(self, agent_id: str, epoch: int, number: int) -> None:
        """The coordinator that holds the agent's session plans by all holds up to `number`."""
        await self._runner.run("holds", keys.FLEET, [agent_id, epoch, number])

    async def set_labels(self, device_id: str, labels: Mapping[str, str]) -> bool:
        """Replaces an operator's labels of a device. False when there is no such device."""
        value = names.dumps(dict(labels)) if labels else ""
        args: list[Arg] = ["dv", device_id, 0, HoldRule.NONE.value, "", 0, "labels", value]
        return bool((await self._runner.run("hold", keys.FLEET, args))[0] == HoldWord.OK)

    async def forget(self, agent_id: str, now: int, heard_before: int | None, operation_id: str = "") -> Forgotten:
        """Forgets an agent that is gone, its devices, and what people said of them.

        `heard_before` (ms) is for what nobody asked for: an agent that was heard since, or that a hold keeps, stays.
        None is a person's word, which is done once under an operation id.
        """
        args: list[Arg] = [agent_id, now, "" if heard_before is None else heard_before, keys.FORGOTTEN_TTL_MS]
        word, devices = await self._runner.run("forget", keys.FLEET, [*args, operation_id, keys.OPERATION_TTL_MS])
        return Forgotten(ForgetWord(word), tuple(sorted(devices)))

    async def forget_absent(self, device_ids: Sequence[str], now: int, gone_before: int) -> list[str]:
        """Devices that their agents do not show: those that it forgot, since they are gone since before (ms).

        Of the others it notes that they are gone since `now` (ms), where nothing is noted yet.
        """
        return [str(d) for d in await self._runner.run("absent", keys.FLEET, [now, gone_before, *device_ids])]

    async def read(self, agents: Sequence[str] = ()) -> list[AgentRow]:
        """Agents with their devices, by id; all of them when none is named. Unknown ones are left out."""
        reply = await self._runner.run("fleet", keys.FLEET, list(agents))
        rows = [_agent(agent, codec.pairs(fields), devices) for agent, fields, devices in reply if fields]
        return sorted(rows, key=lambda r: r.agent_id)


def _measured(ms: int | None) -> Arg:
    known = None if ms is None else reported_ms(ms)
    return "" if known is None else known


def _facts(d: DeviceInfo) -> str:
    facts: dict[str, object] = {
        "udid": d.udid,
        "target": d.target.value,
        "platform": d.platform,
        "os_version": d.os_version,
        "model": d.model,
        "labels": dict(d.labels),
        "health": d.health.value,
        "reason": d.reason,
    }
    if d.pushed_builds_only:
        facts["pushed_builds_only"] = True
    return names.dumps(facts)


def _hold(text: str) -> Hold:
    d = json.loads(text)
    return Hold(HoldKind(d["k"]), d["r"], d["u"])


def _holds(f: Mapping[str, str]) -> tuple[Hold, ...]:
    return tuple(_hold(f[name]) for name in _FIELDS.values() if name in f)


def _int(text: str | None) -> int | None:
    return int(text) if text else None


@lru_cache(maxsize=8192)
def _parsed(facts: str) -> dict[str, Any]:
    """What an agent showed of a device; read again and again, changed rarely."""
    parsed: dict[str, Any] = json.loads(facts)
    return parsed


def _device(device_id: str, f: Mapping[str, str]) -> DeviceRow:
    facts = _parsed(f["facts"])
    installed = f.get("installed", "")
    org_id, _, version = installed.partition(" ")
    seen, _, installed_at = f.get("installed_at", "").rpartition(" ")
    info = DeviceInfo(
        device_id=device_id,
        udid=facts["udid"],
        target=Target(facts["target"]),
        platform=facts["platform"],
        os_version=facts["os_version"],
        model=facts["model"],
        labels=facts["labels"],
        org_id=org_id or None,
        app_version_id=version or None,
        health=DeviceHealth(facts["health"]),
        reason=facts["reason"],
        pushed_builds_only=facts.get("pushed_builds_only", False),
    )
    return DeviceRow(
        info=info,
        agent_id=f["agent"],
        present=f.get("present") == "1",
        job_id=f.get("job") or None,
        installs=int(f.get("installs", "0")),
        busy_ms=int(f.get("busy_ms", "0")),
        seen_at=_int(f.get("seen")),
        holds=_holds(f),
        labels=json.loads(f["labels"]) if f.get("labels") else {},
        kept=health.kept(f),
        free_at=_int(f.get("free")),
        installed_at=int(installed_at) if seen and seen == installed else 0,
        gone_at=_int(f.get("gone")),
    )


def _agent(agent_id: str, f: Mapping[str, str], devices: list[object]) -> AgentRow:
    rows = []
    for i in range(0, len(devices), 2):
        fields = devices[i + 1]
        if isinstance(fields, list) and fields:
            rows.append(_device(str(devices[i]), codec.pairs(fields)))
    return AgentRow(
        agent_id=agent_id,
        epoch=int(f.get("epoch", "0")),
        state=f.get("state", "closed"),
        facts=json.loads(f.get("facts", "{}")),
        coordinator=f.get("at", ""),
        connected_at=_int(f.get("connected")),
        seen_at=_int(f.get("seen")),
        holds=_holds(f),
        holds_seen=int(f.get("holds_seen", "0")),
        devices=tuple(sorted(rows, key=lambda r: r.info.device_id)),
    )
