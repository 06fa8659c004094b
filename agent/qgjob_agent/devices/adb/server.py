"""Where the adb server is that has the devices: what others are told of it who talk to these too. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORT = 5037


@dataclass(frozen=True, slots=True)
class AdbServer:
    """Whoever is not told of it looks for one on its own host at port 5037, and starts one where none is.

    A second server takes the phones from the first.
    """

    host: str = "127.0.0.1"
    port: int = _DEFAULT_PORT

    def variables(self) -> dict[str, str]:
        """For adb programs, where it is not the one that they would look for."""
        told = {} if self.port == _DEFAULT_PORT else {"ANDROID_ADB_SERVER_PORT": str(self.port)}
        return told if self.host in LOCAL else told | {"ANDROID_ADB_SERVER_ADDRESS": self.host}

    def capabilities(self) -> dict[str, Any]:
        """The same for Appium's sessions: its drivers look at no variable."""
        told: dict[str, Any] = {} if self.port == _DEFAULT_PORT else {"appium:adbPort": self.port}
        return told if self.host in LOCAL else told | {"appium:remoteAdbHost": self.host}
