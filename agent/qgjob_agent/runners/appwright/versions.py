"""Which AppWright and Playwright a suite has, and what of the fast mode is known to work with them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qgjob_agent.host import places
from qgjob_agent.runners.appwright.fits import PLACES, Fit, fit_of

if TYPE_CHECKING:
    from pathlib import Path

    from qgjob_agent.runners.appwright.fits import Part, Place


class SuiteError(Exception):
    """The suite can't be run on this host. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Versions:
    """What was found. `why_plain` and `why_alone` are those of Fit."""

    appwright: str | None
    playwright: str
    folder: Path
    why_plain: str | None
    why_alone: str | None = None

    @property
    def fast(self) -> bool:
        """Whether sessions can be turned to an installed app, and files be kept from beginning."""
        return self.why_plain is None

    @property
    def joins(self) -> bool:
        """Whether a process that has nothing to do can take further files."""
        return self.fast and self.why_alone is None


def look_at(suite: Path, *, plain: bool = False) -> Versions:
    """Looks at what is installed for a suite. Raises SuiteError where that can't run a test at all."""
    folder = _folder(suite, "playwright")
    if folder is None:
        raise SuiteError(f"the suite {suite} has no Playwright; run `npm ci` in it")
    playwright = _version(folder)
    found = _folder(suite, "appwright")
    appwright = None if found is None else _version(found)
    try:
        fit = fit_of(appwright, playwright, _lacks(folder))
    except ValueError:
        raise SuiteError(f"Playwright has the version {playwright!r}, which is none; run `npm ci` again") from None
    if fit.why_none is not None:
        raise SuiteError(fit.why_none)
    if plain:
        fit = Fit(why_plain='appwright.mode is "plain"')
    return Versions(appwright, playwright, folder, fit.why_plain, fit.why_alone)


def _folder(suite: Path, package: str) -> Path | None:
    """Where node would find a package. Raises SuiteError where it may be in a folder that can't be looked into."""
    for each in (suite, *suite.parents):
        place = each / "node_modules" / package
        found = places.look(place / "package.json")
        if found is places.Place.CLOSED:
            raise SuiteError(f"{place} may not be looked at by this user; run `npm ci` as the user that the agent is")
        if found is places.Place.FILE:
            return place
    return None


def _version(folder: Path) -> str:
    manifest = folder / "package.json"
    try:
        return str(json.loads(manifest.read_text("utf-8"))["version"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SuiteError(f"{manifest} can't be read ({error}); run `npm ci` again") from None


def _lacks(playwright: Path) -> dict[Part, str]:
    """What js/ changes and is not there."""
    found = {part: place.lack(_text(playwright, place)) for part, place in PLACES.items()}
    return {part: lack for part, lack in found.items() if lack is not None}


def _text(playwright: Path, place: Place) -> str | None:
    try:
        return (playwright / place.file).read_text("utf-8")
    except (OSError, ValueError):
        return None
