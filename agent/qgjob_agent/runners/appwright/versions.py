"""Which AppWright and Playwright a suite has, and whether the fast mode is known to work with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TRIED_APPWRIGHT = frozenset({"0.1.1"})
TRIED_PLAYWRIGHT = frozenset({"1.59.1"})
_CHANGED = {
    "lib/worker/workerMain.js": ("runTestGroup",),
    "lib/runner/dispatcher.js": ("run", "_checkFinished", "_isWorkerRedundant", "_scheduleJob"),
}
_HIGHEST = (1, 59)
_ADVICE = 'pin it in package.json with "overrides": {"@playwright/test": "1.59.1"}, and install again'


class SuiteError(Exception):
    """The suite can't be run on this host. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What was found. `why_plain` is why the fast mode is not used, for people; None when it is."""

    appwright: str | None
    playwright: str
    folder: Path
    why_plain: str | None

    @property
    def fast(self) -> bool:
        """Whether sessions can be turned to an installed app, and files be kept from beginning."""
        return self.why_plain is None


def look_at(suite: Path, *, plain: bool = False) -> Versions:
    """Looks at what is installed for a suite. Raises SuiteError where that can't run a test at all."""
    folder = _folder(suite, "playwright")
    if folder is None:
        raise SuiteError(f"the suite {suite} has no Playwright; run `npm ci` in it")
    playwright = _version(folder)
    found = _folder(suite, "appwright")
    appwright = None if found is None else _version(found)
    if appwright in TRIED_APPWRIGHT and _minor(playwright) > _HIGHEST:
        raise SuiteError(f"Playwright {playwright} fails every test of AppWright {appwright}; {_ADVICE}")
    why: str | None = None
    if plain:
        why = 'appwright.mode is "plain"'
    elif appwright is not None and appwright not in TRIED_APPWRIGHT:
        why = f"AppWright {appwright} was not tried; {_known(TRIED_APPWRIGHT)}"
    elif playwright not in TRIED_PLAYWRIGHT:
        why = f"Playwright {playwright} was not tried; {_known(TRIED_PLAYWRIGHT)}"
    elif (lacks := _lacks(folder)) is not None:
        why = f"Playwright {playwright} in {folder} is not as it was released: {lacks}"
    return Versions(appwright, playwright, folder, why)


def _known(versions: frozenset[str]) -> str:
    return f"tried: {', '.join(sorted(versions))}"


def _folder(suite: Path, package: str) -> Path | None:
    """Where node would find a package."""
    places = (each / "node_modules" / package for each in (suite, *suite.parents))
    return next((place for place in places if (place / "package.json").is_file()), None)


def _version(folder: Path) -> str:
    manifest = folder / "package.json"
    try:
        return str(json.loads(manifest.read_text("utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SuiteError(f"{manifest} can't be read ({error}); run `npm ci` again") from None


def _minor(version: str) -> tuple[int, int]:
    parts = version.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (IndexError, ValueError):
        raise SuiteError(f"Playwright has the version {version!r}, which is none; run `npm ci` again") from None


def _lacks(playwright: Path) -> str | None:
    """What js/ changes and is not there."""
    for file, names in _CHANGED.items():
        try:
            text = (playwright / file).read_text("utf-8")
        except OSError:
            return f"it has no {file}"
        for name in names:
            if f"  {name}(" not in text and f"  async {name}(" not in text:
                return f"{file} has no {name}"
    return None
