"""A device and the attempts that wait for it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgjob_agent.core.leases import Lease
    from qgjob_agent.core.values import App, DeviceFacts


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen to be installed on a device; None: nothing of ours."""

    installed: App | None


@dataclass(slots=True, eq=False)
class Device:
    """One device. `living` is the local guard: nothing starts while a tree, of whatever daemon, is in it.

    `seen` is what its provider saw to be installed while something lived there; it counts when that has ended.
    """

    facts: DeviceFacts
    installed: App | None = None
    queue: deque[Lease] = field(default_factory=deque)
    living: set[str] = field(default_factory=set)  # tokens
    draining: bool = False
    gone: bool = False
    seen: Seen | None = None
    stuck: str | None = None  # why what lives there does not die, in words

    def has(self, wanted: App) -> bool:
        """True when what is wanted is installed here."""
        return self.installed is not None and self.installed.serves(wanted)

    @property
    def free(self) -> bool:
        """True when an attempt could begin here."""
        return not self.living and not self.gone
