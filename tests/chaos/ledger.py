"""What was away, what went back and what went wrong, written down as it happens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.chaos import clock
from tests.chaos.history import Cut, Outage, Span, Trouble
from tests.fakes.program import Program
from tests.fakes.store_process import StoreProcess

OWN_FAULTS = ("Traceback (most recent call last)", '"level": "error"', '"level": "critical"')
"""What a program says when it failed itself, and not when something else did."""
EXPECTED = ('"event": "store_went_back"',)
"""Errors that are the store's."""
TRACEBACK_LINES = 25
TAIL = 1500
"""Characters of a log that are kept of a program that ended."""


class Ledger:
    """What the checker is told beside what the programs say themselves."""

    def __init__(self) -> None:
        self.outages: list[Outage] = []
        self.cuts: list[Cut] = []
        self.troubles: list[Trouble] = []
        self._meant: set[str] = set()

    @asynccontextmanager
    async def away(self, *places: str) -> AsyncIterator[None]:
        """The places can't do their part until the block ends."""
        begin = clock.now()
        try:
            yield
        finally:
            self.outages += [Outage(place, Span(begin, clock.now())) for place in places]

    @asynccontextmanager
    async def meant(self, place: str) -> AsyncIterator[None]:
        """This program, or the store, may end in this block: that is no trouble."""
        self._meant.add(place)
        try:
            yield
        finally:
            self._meant.discard(place)

    def is_meant(self, place: str) -> bool:
        """Whether it may end now."""
        return place in self._meant

    def trouble(self, place: str, text: str) -> None:
        """Something went wrong that nobody did."""
        self.troubles.append(Trouble(place, clock.now(), text))

    def ended(self, place: str, program: Program | StoreProcess) -> None:
        """It ended, and nobody had asked for that."""
        self.trouble(place, f"ended unasked; it said:\n{program.said()[-TAIL:]}")

    def read_log(self, place: str, log: Path) -> None:
        """Writes down what a program said of faults of its own, in all its lives."""
        for text in _own_faults(log.read_text(errors="replace").splitlines()):
            self.trouble(place, text)


def _own_faults(lines: list[str]) -> Iterator[str]:
    for i, line in enumerate(lines):
        if any(word in line for word in OWN_FAULTS) and not any(word in line for word in EXPECTED):
            yield "\n".join(lines[i : i + (TRACEBACK_LINES if line.startswith("Traceback") else 1)])
