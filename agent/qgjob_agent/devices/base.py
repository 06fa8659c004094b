"""What every device provider offers, and what it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.devices.cloud import Cloud


class DeviceSink(Protocol):
    """Where a provider tells what happens. May be called from within the provider's own methods."""

    def device(self, event: InstallEnded | DeviceSeen | DeviceLost | DeviceProbed) -> None:
        """One event of a device."""


class AtHand(Protocol):
    """Devices of this host, with builds on them and logs of their own."""

    def package_of(self, assignment: Assignment) -> str | None:
        """The package that was installed for such an assignment on its device; None where that is not known."""

    async def logged(self, device_id: str, since_ms: int, until_ms: int) -> bytes | None:
        """What a device logged between two times; None where its kind has no log that is kept. Raises OSError."""

    async def screen(self, device_id: str) -> bytes | None:
        """What a device shows now, as PNG; None where its kind can't be asked. Raises OSError, saying why not."""


class DeviceProvider(Protocol):
    """Finds devices and installs apps. All methods are called in the event loop and must not block it."""

    @property
    def at_hand(self) -> AtHand | None:
        """Its devices, where they are this host's and really there."""

    @property
    def cloud(self) -> Cloud | None:
        """What begins sessions of its devices, where these are a cloud's."""

    async def start(self) -> None:
        """Begins to look for devices. What it finds may be told before this returns."""

    def devices(self) -> list[DeviceFacts]:
        """The devices that are there before `start`; later ones are told as DeviceSeen."""

    def install(self, assignment: Assignment) -> None:
        """Installs the assignment's app version on its device; ends with one InstallEnded for its token."""

    def cancel_install(self, token: str) -> None:
        """Stops an installation; it ends with InstallEnded{cancelled}, when nothing of it lives."""

    def probe(self, device_id: str) -> None:
        """Looks whether the device is well; ends with DeviceProbed."""

    async def close(self) -> None:
        """Stops looking, and any installation."""
