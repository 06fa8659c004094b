"""Several device providers as one: each device belongs to the one that shows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qgjob_agent.core.events import DeviceLost, DeviceProbed, DeviceSeen, InstallEnded
from qgjob_agent.core.values import Health, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qgjob_agent.core.values import Assignment, DeviceFacts
    from qgjob_agent.devices.base import DeviceProvider, DeviceSink


class SeveralProviders:
    """A DeviceProvider. Each of `make` is given the sink that its provider is to tell."""

    def __init__(self, sink: DeviceSink, make: Sequence[Callable[[DeviceSink], DeviceProvider]]) -> None:
        self._sink = sink
        self._owners: dict[str, DeviceProvider] = {}
        self._installing: dict[str, DeviceProvider] = {}
        self._providers: list[DeviceProvider] = []
        for each in make:
            ear = _Ear(self)
            ear.provider = each(ear)
            self._providers.append(ear.provider)

    cloud = None
    """Devices of a cloud have an agent of their own."""

    @property
    def at_hand(self) -> SeveralProviders:
        """See DeviceProvider."""
        return self

    async def start(self) -> None:
        """Has each begin to look."""
        for provider in self._providers:
            await provider.start()

    def devices(self) -> list[DeviceFacts]:
        """Those of all."""
        found: list[DeviceFacts] = []
        for provider in self._providers:
            mine = provider.devices()
            self._owners.update({facts.device_id: provider for facts in mine})
            found += mine
        return found

    def install(self, assignment: Assignment) -> None:
        """By the device's owner. A device that nobody has shown ends it at once."""
        owner = self._owners.get(assignment.device_id)
        if owner is None:
            ended = InstallEnded(
                assignment.device_id, assignment.token, Outcome.DEVICE_ERROR, 0, "the device is not connected"
            )
            self._sink.device(ended)
            return
        self._installing[assignment.token] = owner
        owner.install(assignment)

    def cancel_install(self, token: str) -> None:
        """Asks the one that installs."""
        owner = self._installing.get(token)
        if owner is not None:
            owner.cancel_install(token)

    def probe(self, device_id: str) -> None:
        """Asks the device's owner."""
        owner = self._owners.get(device_id)
        if owner is None:
            self._sink.device(DeviceProbed(device_id, Health.BAD, "the device is not connected"))
        else:
            owner.probe(device_id)

    def package_of(self, assignment: Assignment) -> str | None:
        """What the device's owner says was installed for such an assignment."""
        owner = self._owners.get(assignment.device_id)
        return None if owner is None or owner.at_hand is None else owner.at_hand.package_of(assignment)

    async def logged(self, device_id: str, since_ms: int, until_ms: int) -> bytes | None:
        """What the device's owner has of its log. Raises OSError, saying why there is none."""
        owner = self._owners.get(device_id)
        if owner is None:
            raise OSError("the device is not connected")
        return None if owner.at_hand is None else await owner.at_hand.logged(device_id, since_ms, until_ms)

    async def screen(self, device_id: str) -> bytes | None:
        """What the device's owner sees on it. Raises OSError, saying why that is nothing."""
        owner = self._owners.get(device_id)
        if owner is None:
            raise OSError("the device is not connected")
        return None if owner.at_hand is None else await owner.at_hand.screen(device_id)

    async def close(self) -> None:
        """Ends all of them."""
        await asyncio.gather(*(provider.close() for provider in self._providers))

    def heard(self, provider: DeviceProvider, event: InstallEnded | DeviceSeen | DeviceLost | DeviceProbed) -> None:
        """Passes on what a provider tells."""
        if isinstance(event, DeviceSeen):
            self._owners[event.facts.device_id] = provider
        elif isinstance(event, InstallEnded):
            self._installing.pop(event.token, None)
        self._sink.device(event)


class _Ear:
    """What one provider tells."""

    provider: DeviceProvider

    def __init__(self, several: SeveralProviders) -> None:
        self._several = several

    def device(self, event: InstallEnded | DeviceSeen | DeviceLost | DeviceProbed) -> None:
        """See DeviceSink."""
        self._several.heard(self.provider, event)
