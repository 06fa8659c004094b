"""Whether an agent's Hello is accepted."""

from __future__ import annotations

from qgjob_coordinator.service import validation
from qgjob_coordinator.service.agents.messages import PROTOCOL_VERSION, Hello, Refused, RefusedReason
from qgjob_coordinator.service.agents.showing import MAX_NAME, check_count, check_devices
from qgjob_coordinator.store.types.sessions import Opened, OpenWord

MAX_CREDIT = 2**32 - 1


class RefusedError(Exception):
    """The agent's Hello is not accepted."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.message)
        self.refused = refused


def check(hello: Hello) -> None:
    """Raises RefusedError for an agent of another version, InvalidError naming the field that is wrong."""
    # Unset, it is 0: no agent ever spoke that.
    if not max(1, PROTOCOL_VERSION - 1) <= hello.protocol_version <= PROTOCOL_VERSION:
        older = hello.protocol_version < PROTOCOL_VERSION
        what = "upgrade the agent" if older else "upgrade the coordinator"
        raise RefusedError(
            Refused(
                RefusedReason.VERSION,
                f"the agent speaks protocol version {hello.protocol_version}, this coordinator {PROTOCOL_VERSION} "
                f"and the one before; {what}",
            )
        )
    validation.check_id("agent_id", hello.agent_id)
    validation.check_int("epoch", hello.epoch, 1, validation.MAX_EXACT)
    validation.check_int("credit", hello.credit, 1, MAX_CREDIT)
    validation.check_given("instance_id", hello.instance_id, MAX_NAME)
    validation.check_text("version", hello.version, MAX_NAME)
    validation.check_text("host", hello.host, MAX_NAME)
    check_count("devices", len(hello.devices))
    check_devices("devices", hello.devices)


def refusal(hello: Hello, opened: Opened) -> Refused:
    """Why a session was not opened, for the agent."""
    word, stored, other = opened.word, opened.stored_epoch, opened.other
    if word is OpenWord.STALE:
        text = f"epoch {hello.epoch} is not above {stored}, the highest that this agent_id had"
        return Refused(RefusedReason.STALE_EPOCH, text, stored)
    if word is OpenWord.IN_USE:
        text = f"another instance with agent_id {hello.agent_id} is alive; give this host an agent_id of its own"
        return Refused(RefusedReason.AGENT_ID_IN_USE, text, stored)
    device, _, owner = other.partition(" ")
    text = f"device_id {device} belongs to agent {owner}, which is not given up yet; set another device_id for it"
    return Refused(RefusedReason.DEVICE_ID_IN_USE, text, stored)
