"""What npm has to install for a suite, and where: pure but for reading the suite's own files.

Suites with the same lock file share what is installed. That can't be where an installation needs the project's files:
it runs scripts of the project, or packages are folders of it. Such a suite has an installation of its own.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob_agent.suites.base import SuiteUnresolvedError

if TYPE_CHECKING:
    from pathlib import Path

LOCKS = ("npm-shrinkwrap.json", "package-lock.json")
"""In npm's order."""
_OTHER_LOCKS = ("yarn.lock", "pnpm-lock.yaml", "bun.lock", "bun.lockb")
_WANTED = ("dependencies", "devDependencies", "optionalDependencies")
_DEPENDING = (*_WANTED, "peerDependencies", "overrides")
_SCRIPTS = frozenset(
    {"preinstall", "install", "postinstall", "prepublish", "preprepare", "prepare", "postprepare", "dependencies"}
)


@dataclass(frozen=True, slots=True)
class Packages:
    """What is to be installed. `files` are all that npm needs, by name; None: it needs the suite itself."""

    key: str
    files: dict[str, bytes] | None


def packages_of(suite: Path) -> Packages | None:
    """None where nothing is to be installed. Raises SuiteUnresolvedError, OSError."""
    described = _read(suite / "package.json")
    if described is None:
        return None
    package = _object(described, "package.json")
    lock_name = next((name for name in LOCKS if (suite / name).is_file()), None)
    if lock_name is None:
        if not any(package.get(name) for name in _WANTED):
            return None
        others = [name for name in _OTHER_LOCKS if (suite / name).is_file()]
        beside = f"{others[0]} is not read; " if others else ""
        raise SuiteUnresolvedError(
            f"has a package.json with dependencies and no package-lock.json; {beside}run `npm install` in it, and have "
            "git track the lock file"
        )
    lock = _read(suite / lock_name) or b""
    config = _read(suite / ".npmrc")
    depending = {name: package[name] for name in _DEPENDING if name in package}
    parts = (lock, config or b"", json.dumps(depending, sort_keys=True).encode())
    key = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
    if _needs_the_project(suite, package, _object(lock, lock_name)):
        return Packages(key, None)
    described = json.dumps({name: value for name, value in package.items() if name != "scripts"}).encode()
    files = {"package.json": described, lock_name: lock} | ({".npmrc": config} if config is not None else {})
    return Packages(key, files)


def _needs_the_project(suite: Path, package: dict[str, Any], lock: dict[str, Any]) -> bool:
    scripts = package.get("scripts")
    if isinstance(scripts, dict) and not _SCRIPTS.isdisjoint(scripts):
        return True
    if package.get("workspaces") or (suite / "binding.gyp").exists():
        return True
    found = lock.get("packages")
    if isinstance(found, dict):
        own = [name for name in found if name and not name.startswith("node_modules/")]
        return bool(own) or any(isinstance(each, dict) and _is_local(each) for each in found.values())
    listed = lock.get("dependencies")
    return isinstance(listed, dict) and any(isinstance(each, dict) and _is_local(each) for each in listed.values())


def _is_local(package: dict[str, Any]) -> bool:
    places = (package.get("resolved"), package.get("version"))
    return bool(package.get("link")) or any(isinstance(each, str) and each.startswith("file:") for each in places)


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _object(data: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SuiteUnresolvedError(f"has a {name} that is no JSON object")
    return found
