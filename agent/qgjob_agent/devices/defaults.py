"""The simulated devices that a development stack has without any configuration."""

from __future__ import annotations

from qgjob_agent.core.values import DeviceFacts, Target

_DEFAULTS = {
    "agent-1": [
        DeviceFacts("emulator-1", "emulator-5554", Target.EMULATOR, "android", "14", "Pixel 7"),
        DeviceFacts("device-1", "R5CT1234ABC", Target.DEVICE, "android", "13", "Galaxy S22"),
    ],
    "agent-2": [
        DeviceFacts("emulator-2", "emulator-5556", Target.EMULATOR, "android", "13", "Pixel 6"),
        DeviceFacts("device-2", "00008110-000A1B2C3D4E5F60", Target.DEVICE, "ios", "17.4", "iPhone 14"),
        DeviceFacts("browserstack-1", "browserstack-session-1", Target.BROWSERSTACK, "android", "14", "Pixel 8"),
        DeviceFacts("browserstack-2", "browserstack-session-2", Target.BROWSERSTACK, "ios", "17", "iPhone 15"),
    ],
}


def default_devices(agent_id: str) -> list[DeviceFacts]:
    """The devices of agent-1 and agent-2; none for any other agent."""
    return list(_DEFAULTS.get(agent_id, []))


def generated_devices(prefix: str, count: int, target: Target) -> list[DeviceFacts]:
    """As many equal devices as asked for, named by prefix and number."""
    return [
        DeviceFacts(f"{prefix}{number}", f"{prefix}{number}", target, "android", "14", "Simulated")
        for number in range(1, count + 1)
    ]
