"""What operators may do with devices and agents: hold them, let them go, label them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping

import structlog

from qgjob_coordinator.errors import AgentSilentError, ConflictError, InvalidError, NotFoundError
from qgjob_coordinator.model.enums import DeviceHealth, HoldKind, HoldSlot, Target
from qgjob_coordinator.model.fleet import Agent, Device, Hold
from qgjob_coordinator.policy.reasons.words import clock
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.agents.sessions import Sessions
from qgjob_coordinator.service.clock import wall_ms
from qgjob_coordinator.service.fleet import CACHE_SECONDS, FleetReader, as_seen_by
from qgjob_coordinator.service.hub import Hub
from qgjob_coordinator.service.principal import Principal
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.holds import ForgetWord, Held, HoldRule, HoldWord

CONFIRM_POLL_SECONDS = 0.02
BY_AN_OPERATOR = "by an operator"
"""Why a device is out of service whose operator did not say: it is not for its failures."""
MAX_HOLD_DAYS = 366
MAX_HOLD_MS = MAX_HOLD_DAYS * 86_400 * 1000

log = structlog.get_logger(__name__)


class FleetService:
    """The fleet for its callers. A hold is in force when the call returns.

    A device has one drain, one reservation and one word on its health, each of which ends for itself; a newer one takes
    the place of its kind. An agent has a drain, for all its devices.
    """

    def __init__(
        self,
        store: Store,
        reader: FleetReader,
        sessions: Sessions,
        hub: Hub,
    ) -> None:
        self._store = store
        self._reader = reader
        self._sessions = sessions
        self._hub = hub

    async def agents(self, principal: Principal) -> list[Agent]:
        """All agents."""
        del principal  # every caller may see the fleet
        return await self._reader.agents()

    async def devices(
        self, principal: Principal, agent_id: object, target: Target | None, page_size: object, page_token: object
    ) -> tuple[list[Device], str]:
        """One page of all devices or of an agent's, by id, and the token of the next ("" on the last).

        What is installed by, or runs for, an org that the caller does not see is left out. The first page is as the
        store has it; the next ones may be CACHE_SECONDS old, since a fleet is read as a whole. Raises InvalidError.
        """
        agent = None if agent_id is None else validation.check_id("agent_id", agent_id)
        if agent is not None:
            found = await self._reader.devices_of(agent)
        else:
            found = await self._reader.devices(max_age_seconds=CACHE_SECONDS if page_token else 0)
        wanted = found if target is None else [d for d in found if d.target is target]
        scope = pages.scope("devices", agent or "", target or "")
        page, token = pages.cut(wanted, [d.device_id for d in wanted], page_size, page_token, scope)
        return [as_seen_by(principal, d) for d in page], token

    async def drain(
        self,
        principal: Principal,
        *,
        agent_id: str | None,
        device_id: str | None,
        reason: str | None,
        until: int | None,
    ) -> list[Device]:
        """Nothing new for a device or all of an agent's; what runs goes on."""
        hold = Hold(HoldKind.DRAINING, self._reason(reason), self._until(until))
        return await self._hold(principal, agent_id, device_id, {hold.slot: hold})

    async def resume(self, principal: Principal, *, agent_id: str | None, device_id: str | None) -> list[Device]:
        """Ends the drain of an agent; of a device also a maintenance or a quarantine.

        Raises ConflictError for a device that is kept by a reservation alone, which only `release` ends.
        """
        if device_id is None:
            return await self._hold(principal, agent_id, None, {HoldSlot.DRAINING: None})
        ended = {HoldSlot.DRAINING: None, HoldSlot.HEALTH: None}
        return await self._hold(principal, agent_id, device_id, ended, HoldRule.RESUME)

    async def set_health(
        self, principal: Principal, device_id: str, health: DeviceHealth | None, reason: str | None, until: int | None
    ) -> Device:
        """An operator's word: good ends a maintenance or a quarantine. Raises InvalidError for `unknown`."""
        if health is None or health is DeviceHealth.UNKNOWN:
            raise InvalidError("health", "use good, bad or maintenance")
        hold = None
        if health is not DeviceHealth.GOOD:
            hold = Hold(HoldKind(health), self._reason(reason) or BY_AN_OPERATOR, self._until(until))
        return (await self._hold(principal, None, device_id, {HoldSlot.HEALTH: hold}))[0]

    async def reserve(
        self, principal: Principal, device_id: str, until: int | None, reason: str | None, *, extend: bool = False
    ) -> Device:
        """Keeps a device for a person until a time, or gives the reservation that is in force another end.

        Raises ConflictError while a reservation is in force, or with `extend` while none is.
        """
        if until is None:
            raise InvalidError("until", "is required: a reservation ends by itself")
        hold = Hold(HoldKind.RESERVED, self._reason(reason), self._until(until))
        rule = HoldRule.EXTEND if extend else HoldRule.RESERVE
        return (await self._hold(principal, None, device_id, {hold.slot: hold}, rule))[0]

    async def release(self, principal: Principal, device_id: str) -> Device:
        """Ends a reservation. Raises ConflictError when none is in force."""
        return (await self._hold(principal, None, device_id, {HoldSlot.RESERVED: None}, HoldRule.RELEASE))[0]

    async def set_labels(self, principal: Principal, device_id: str, labels: Mapping[str, object]) -> Device:
        """Replaces the labels that operators set. Raises InvalidError for one that requirements could not ask for."""
        principal.require_operator()
        checked = validation.check_device_labels("labels", labels)
        await self._find(device_id)
        if not await self._store.fleet.set_labels(device_id, checked):
            raise _unknown("device_id", device_id)
        await self._in_force((await self._find(device_id)).agent_id)
        return await self._find(device_id)

    async def forget_agent(self, principal: Principal, agent_id: str) -> list[Device]:
        """Forgets an agent that is gone for good, with its devices and all that was said of them; these as they were.

        Raises ConflictError, with what to do, while its session is not given up or its leases are to be released.
        """
        principal.require_operator()
        checked = validation.check_id("agent_id", agent_id)
        rows = await self._store.fleet.read([checked])
        devices = await self._reader.devices_of(checked)
        done = await self._store.fleet.forget(checked, wall_ms(), None, secrets.token_urlsafe(12))
        if done.word is ForgetWord.UNKNOWN:
            raise _unknown("agent_id", checked)
        if done.word is not ForgetWord.OK:
            online = done.word is ForgetWord.OPEN and any(row.state == "open" for row in rows)
            raise _not_gone(checked, online, self._sessions.times.lease_ms)
        log.info("agent_forgotten", agent_id=checked, devices=len(done.devices))
        return [d for d in devices if d.device_id in done.devices]

    async def _hold(
        self,
        principal: Principal,
        agent_id: str | None,
        device_id: str | None,
        holds: Mapping[HoldSlot, Hold | None],
        rule: HoldRule = HoldRule.NONE,
    ) -> list[Device]:
        """Sets holds, or ends them (None), if the rule allows it; returns what they concern when they are in force."""
        principal.require_operator()
        if (agent_id is None) == (device_id is None):
            raise InvalidError("device_id", "give exactly one of device_id and agent_id")
        field, id_ = ("agent_id", agent_id) if agent_id is not None else ("device_id", device_id)
        checked = validation.check_id(field, id_)
        kind, now = "dv" if agent_id is None else "ag", wall_ms()
        done = await self._store.fleet.set_holds(kind, checked, holds, now, secrets.token_urlsafe(12), rule)
        if done.word is not HoldWord.OK:
            raise _refusal(done, rule, field, checked, now)
        await self._in_force(done.agent_id)
        devices = await self._reader.devices(max_age_seconds=0)
        concerned = [d for d in devices if d.device_id == device_id or d.agent_id == agent_id]
        if not concerned and device_id is not None:  # it was forgotten in this moment
            raise _unknown(field, checked)
        return concerned

    async def _in_force(self, agent_id: str) -> None:
        """Returns when the coordinator that holds the agent's session plans by the new hold."""
        live = self._sessions.get(agent_id)
        if live is not None:
            await live.records.apply()
            return
        wanted = await self._store.fleet.hold_number()
        self._hub.hint(f"holds {agent_id}")
        deadline = time.monotonic() + self._sessions.times.session_timeout_ms / 1000
        while time.monotonic() < deadline:
            rows = await self._store.fleet.read([agent_id])
            if not rows or rows[0].state != "open" or rows[0].holds_seen >= wanted:
                return
            await asyncio.sleep(CONFIRM_POLL_SECONDS)
        raise AgentSilentError(
            f"agent {agent_id}, or the coordinator that holds its session, did not confirm in time; "
            "the change is stored; `qgjob devices show` tells when it is in force"
        )

    async def _find(self, device_id: str) -> Device:
        checked = validation.check_id("device_id", device_id)
        for d in await self._reader.devices(max_age_seconds=0):
            if d.device_id == checked:
                return d
        raise _unknown("device_id", checked)

    @staticmethod
    def _reason(reason: str | None) -> str | None:
        return validation.check_text("reason", reason) if reason else None

    @staticmethod
    def _until(until: int | None) -> int | None:
        now = wall_ms()
        if until is not None and not now < until <= now + MAX_HOLD_MS:
            raise InvalidError(
                "until", f"{clock(until, now)} is out of range; give a time to come, at most {MAX_HOLD_DAYS} days ahead"
            )
        return until


def _unknown(field: str, id_: str) -> NotFoundError:
    """The error of a device or an agent that is not there."""
    what = field.removesuffix("_id")
    return NotFoundError(f"{what} {id_} not found; `qgjob {what}s ls` lists them", field=field)


def _not_gone(agent_id: str, online: bool, lease_ms: int) -> ConflictError:
    """Why an agent is not forgotten, and what to do."""
    if online:
        why = "is online; stop it, and try again when `qgjob agents ls` shows it offline"
    else:
        why = "may come back, and what it ran is not given up yet; try again later"
    given_up = f"it is given up some {lease_ms / 1000:g} s after it was heard last"
    return ConflictError(f"agent {agent_id} {why}; {given_up}", field="agent_id")


def _refusal(answer: Held, rule: HoldRule, field: str, id_: str, now: int) -> NotFoundError | ConflictError:
    """Why a word on a device or an agent changed nothing."""
    if answer.word is HoldWord.UNKNOWN:
        return _unknown(field, id_)
    held = answer.reservation
    if held is None or held.until is None:
        again = " any more; reserve it again" if rule is HoldRule.EXTEND else ""
        return ConflictError(f"device {id_} is not reserved{again}", field=field)
    if rule is HoldRule.RESERVE:
        hint = "if it is yours, extend or release it"
    else:
        hint = "it is all that keeps it; use release"
    why = f"device {id_} is reserved until {clock(held.until, now)}: {held.reason or 'no reason given'}; {hint}"
    return ConflictError(why, field=field)
