"""What of the fast mode fits an AppWright and a Playwright: what was tried, and what follows from it. Pure.

Each part of the fast mode changes something in Playwright. A part is used where it was tried with that very version and
where what it changes is there. `make try-playwright` tries others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping


class Part(Enum):
    """What js/ does to Playwright."""

    FILES = "files"
    """Where a file begins: it may be kept from that, and its sessions are turned to the installed app."""
    JOINING = "joining"
    """Where nothing is left to do: further files come into the process that runs."""


@dataclass(frozen=True, slots=True)
class Place:
    """A file of Playwright's, and what is changed in it."""

    file: str
    names: tuple[str, ...]

    def lack(self, text: str | None) -> str | None:
        """What is not there of it; `text` is what is in the file, None where there is no such file."""
        if text is None:
            return f"it has no {self.file}"
        missing = (name for name in self.names if f"  {name}(" not in text and f"  async {name}(" not in text)
        return next((f"{self.file} has no {name}" for name in missing), None)


PLACES: Final[Mapping[Part, Place]] = {
    Part.FILES: Place("lib/worker/workerMain.js", ("runTestGroup",)),
    Part.JOINING: Place("lib/runner/dispatcher.js", ("run", "_checkFinished", "_isWorkerRedundant", "_scheduleJob")),
}
TRIED_APPWRIGHT: Final = frozenset({"0.1.1"})
_ALL = ("1.56.1", "1.57.0", "1.58.2", "1.59.0", "1.59.1")
_WITHOUT_JOINING = (
    *("1.46.1", "1.47.2", "1.48.2", "1.49.1", "1.50.1"),
    *("1.51.1", "1.52.0", "1.53.2", "1.54.2", "1.55.1"),
)
TRIED_PLAYWRIGHT: Final[dict[str, frozenset[Part]]] = {
    **dict.fromkeys(_WITHOUT_JOINING, frozenset({Part.FILES})),
    **dict.fromkeys(_ALL, frozenset(Part)),
}
"""By version, the parts with which the tests with real AppWright have passed; docs/appwright.md has when."""
_HIGHEST = (1, 59)
"""The last minor version with which AppWright's fixtures can be loaded."""
_ADVICE = 'pin it in package.json with "overrides": {"@playwright/test": "1.59.1"}, and install again'


@dataclass(frozen=True, slots=True)
class Fit:
    """What is used, and for people why the rest is not.

    `why_none`: no test can run at all. `why_plain`: the fast mode is not used. `why_alone`: it is, but further files
    don't come into a process that runs. None of each where it is not so.
    """

    why_none: str | None = None
    why_plain: str | None = None
    why_alone: str | None = None


def fit_of(appwright: str | None, playwright: str, lacks: Mapping[Part, str]) -> Fit:
    """`appwright` None: the suite has none, and its tests have no sessions. `lacks`: what of PLACES is not there.

    Raises ValueError for a Playwright whose version is none.
    """
    if appwright in TRIED_APPWRIGHT and minor(playwright) > _HIGHEST:
        return Fit(why_none=f"Playwright {playwright} fails every test of AppWright {appwright}; {_ADVICE}")
    if appwright is not None and appwright not in TRIED_APPWRIGHT:
        return Fit(why_plain=f"AppWright {appwright} was not tried; tried: {', '.join(sorted(TRIED_APPWRIGHT))}")
    parts = TRIED_PLAYWRIGHT.get(playwright)
    if parts is None:
        tried = ", ".join(sorted(TRIED_PLAYWRIGHT, key=minor))
        return Fit(why_plain=f"Playwright {playwright} was not tried; tried: {tried}")
    changed = [lack for part, lack in lacks.items() if part in parts]
    if changed:
        return Fit(why_plain=f"Playwright {playwright} is not as it was released: {changed[0]}")
    if Part.JOINING not in parts:
        return Fit(why_alone=f"Playwright {playwright} is not known to take further files into a process that runs")
    return Fit()


def minor(version: str) -> tuple[int, int]:
    """The first two numbers of a version. Raises ValueError."""
    first, _, rest = version.partition(".")
    return int(first), int(rest.partition(".")[0])
