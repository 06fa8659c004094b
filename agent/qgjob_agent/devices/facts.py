"""What the facts of found devices have in common. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qgjob_agent.device_rules import MAX_MODEL, label_problem, line_problem, version_problem

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgjob_agent.core.values import DeviceFacts

MB = 1_000_000
_MAX_ID = 128


def device_id_of(agent_id: str, serial: str) -> str:
    """The id of a device that no setting names."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", f"{agent_id}.{serial}")[:_MAX_ID]


def id_of(agent_id: str, serial: str, named: DeviceFacts | None) -> str:
    """The id of a device: as it is named, else made of its serial."""
    return device_id_of(agent_id, serial) if named is None else named.device_id


def shown_version(text: str) -> str | None:
    """A version of an operating system as a device says it; None where requirements could not ask for it."""
    return text if text and version_problem(text) is None else None


def shown_model(text: str) -> str | None:
    """A model as a device says it; None where it can't be shown."""
    model = text[:MAX_MODEL].strip()
    return model if line_problem(model, MAX_MODEL) is None else None


def shown_labels(labels: Mapping[str, str | None]) -> dict[str, str]:
    """Of these labels those that requirements can ask for."""
    return {name: value for name, value in labels.items() if value and label_problem(name, value) is None}
