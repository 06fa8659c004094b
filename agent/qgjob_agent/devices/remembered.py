"""What this agent installed on each device, kept across its restarts. It is a claim: the device has the last word."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import asdict, astuple, dataclass
from typing import TYPE_CHECKING, Any

from qgjob_agent.core.values import App
from qgjob_agent.devices.packages import PackageSays

if TYPE_CHECKING:
    from pathlib import Path

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Ours:
    """A package that we installed, and what the device said of it then.

    `assigned_digest` is that of the assignment (None where its build came from a template), `build_digest` that of the
    file. `used_at_ms` is when it was last installed or asked for; milliseconds since the epoch, of the host's clock.
    """

    package: str
    org_id: str
    app_version_id: str
    assigned_digest: str | None
    build_digest: str
    says: PackageSays
    used_at_ms: int

    @property
    def app(self) -> App:
        """As the core names what is installed."""
        return App(self.org_id, self.app_version_id, self.assigned_digest)


class UnreadableError(Exception):
    """What was installed can't be read back. Says why; `path` is the file."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(why)
        self.path = path


def claims_of(folder: Path, serial: str) -> list[Ours]:
    """What is kept of a device, by whichever agent of this folder; nothing is changed. Raises UnreadableError."""
    path = _path(folder, serial)
    try:
        return list(_understood(json.loads(path.read_text("utf-8")), serial).values())
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UnreadableError(path, f"{type(error).__name__}: {error}") from error


def _path(folder: Path, serial: str) -> Path:
    safe = re.sub(r"[^A-Za-z0-9._-]", "-", serial)[:100]
    if safe != serial or safe.startswith("."):  # another serial may look the same
        safe = f"serial-{safe}-{hashlib.sha256(serial.encode()).hexdigest()[:12]}"
    return folder / f"{safe}.json"


class Remembered:
    """A file for each serial. A file that can't be read is as none, one that can't be written costs an installation
    after a restart; the log says so.
    """

    def __init__(self, folder: Path, log: Any) -> None:
        self._folder = folder
        self._log = log
        self._known: dict[str, dict[str, Ours]] = {}

    def of(self, serial: str) -> list[Ours]:
        """Ours on the device, the least recently used first."""
        return sorted(self._of(serial).values(), key=lambda each: each.used_at_ms)

    def put(self, serial: str, ours: Ours) -> None:
        """We installed it, or used it again."""
        self._of(serial)[ours.package] = ours
        self._write(serial)

    def forget(self, serial: str, ours: Ours) -> None:
        """It is not there any more, or not ours; nothing where that is known already, or another took its place."""
        known = self._of(serial)
        if known.get(ours.package) is ours:
            del known[ours.package]
            self._write(serial)

    def _of(self, serial: str) -> dict[str, Ours]:
        if serial not in self._known:
            self._known[serial] = self._read(serial)
        return self._known[serial]

    def _read(self, serial: str) -> dict[str, Ours]:
        try:
            return {ours.package: ours for ours in claims_of(self._folder, serial)}
        except UnreadableError as error:
            self._log.warning("installed_not_read", serial=serial, path=str(error.path), error=str(error))
            return {}

    def _write(self, serial: str) -> None:
        path = _path(self._folder, serial)
        beside = path.with_suffix(".new")
        packages = [asdict(each) for each in self.of(serial)]
        text = json.dumps({"version": _VERSION, "serial": serial, "packages": packages}, indent=1)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            beside.write_text(text, "utf-8")
            os.replace(beside, path)  # noqa: PTH105 - of a file that readers see whole
        except OSError as error:
            why = error.strerror or str(error)
            self._log.warning("installed_not_written", serial=serial, path=str(path), error=why)


def _understood(said: Any, serial: str) -> dict[str, Ours]:
    """Errors: ValueError, KeyError, TypeError and AttributeError where it is not what was written."""
    if said["version"] != _VERSION or said["serial"] != serial:
        raise ValueError(f"it is of version {said['version']!r} and of {said['serial']!r}")
    found = {}
    for each in said["packages"]:
        ours = Ours(**each | {"says": PackageSays(**each["says"])})
        texts = [ours.package, *ours.app[:2], ours.assigned_digest or "", ours.build_digest, *astuple(ours.says)]
        if not all(isinstance(text, str) for text in texts) or not isinstance(ours.used_at_ms, int):
            raise ValueError("a value is of another kind")
        found[ours.package] = ours
    return found
