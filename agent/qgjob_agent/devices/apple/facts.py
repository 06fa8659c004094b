"""What a simulator or an Apple device is, and whether it is well, made of what is said of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.core.values import DeviceFacts, Health, Target
from qgjob_agent.devices.apple.says import BOOTED, NO_DEVELOPER_MODE, SHUTDOWN, UNPAIRED
from qgjob_agent.devices.apple.settings import Erase
from qgjob_agent.devices.facts import MB, id_of, shown_labels, shown_model, shown_version

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob_agent.devices.apple.says import Phone, Simulator
    from qgjob_agent.devices.remembered import Ours

UNBOOTABLE = "unbootable"
UNAVAILABLE = "unavailable"
STARTING = "starting"


@dataclass(frozen=True, slots=True)
class Condition:
    """What a look found. `trouble` is that of its state; `free_bytes` None where nobody says."""

    trouble: str | None = None
    booted: bool = True
    free_bytes: int | None = None
    removable: bool = False
    silent: str | None = None  # why it did not answer


def simulator_trouble(state: str) -> str | None:
    """What is the matter with a simulator in a state, and what to do; None for a booted one.

    States of our own have the reason behind a colon.
    """
    name, _, why = state.partition(": ")
    if name == BOOTED:
        return None
    if name == UNAVAILABLE:
        return f"can't be used ({why}): install its runtime in Xcode, or take it out of apple.udids"
    if name == UNBOOTABLE:
        return f"can't be booted ({why}): `xcrun simctl erase` it, or make another"
    if name == STARTING:
        return "is shut down, and is being booted"
    if name == SHUTDOWN:
        return "is shut down: boot it, or set apple.boot"
    return f"is in the state {state!r} for simctl, and takes no work in it"


def phone_trouble(state: str) -> str | None:
    """What is the matter with a device in a state, and what to do; None for one that is ready."""
    return {
        UNPAIRED: "is not paired with this Mac: plug it in, unlock it, and trust this computer",
        NO_DEVELOPER_MODE: "has its Developer Mode off: switch it on under Settings, Privacy & Security",
    }.get(state)


def facts_of(
    what: Simulator | Phone,
    target: Target,
    agent_id: str,
    named: DeviceFacts | None,
    health: tuple[Health, str | None],
) -> DeviceFacts:
    """The facts of a device. What is set of it goes before what is said, and what can't be shown is left out."""
    labels = shown_labels({"name": what.name})
    return DeviceFacts(
        device_id=id_of(agent_id, what.udid, named),
        udid=what.udid,
        target=target if named is None else named.target,
        platform="ios",
        os_version=(named and named.os_version) or shown_version(what.os_version),
        model=(named and named.model) or shown_model(what.model),
        labels=labels if named is None else labels | named.labels,
        health=health[0],
        reason=health[1],
    )


def health_of(condition: Condition, min_free_mb: int) -> tuple[Health, str | None]:
    """Whether a device can be trusted with work; if not, what is the matter and what to do."""
    why = _why_bad(condition, min_free_mb)
    return (Health.GOOD, None) if why is None else (Health.BAD, f"the device {why}")


def _why_bad(condition: Condition, min_free_mb: int) -> str | None:
    if condition.trouble is not None:
        return condition.trouble
    if condition.silent is not None:
        return f"does not answer: {condition.silent}"
    if not condition.booted:
        return "has not started up yet; where that stays so, `xcrun simctl shutdown` it and boot it again"
    free = condition.free_bytes
    if free is not None and free < min_free_mb * MB and not condition.removable:
        return f"has {free // MB} MB free on this host's disk and needs {min_free_mb}: make room there"
    return None


def must_erase(policy: Erase, there: Sequence[Ours], org_id: str, digest: str) -> bool:
    """Whether a simulator with these builds of ours is to be erased before a build of an org is installed."""
    if policy is Erase.NEVER:
        return False
    return any(each.org_id != org_id or (policy is Erase.BUILDS and each.build_digest != digest) for each in there)
