"""Runs simctl and devicectl by xcrun, each call within a bound; one that hangs is killed and told."""

from __future__ import annotations

import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qgjob_agent.devices.apple.says import devicectl_problem
from qgjob_agent.devices.apple.settings import ADVICE
from qgjob_agent.devices.refusals import DeviceSilentError
from qgjob_agent.devices.screens import png_of
from qgjob_agent.host.program import Ended, HostError, run_program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MOST_BYTES = 16 * 1024 * 1024
_OF_HOST = (
    "unable to find utility",
    "not a developer tool",
    "xcode-select",
    "invalid active developer path",
    "agreed to the xcode license",
    "coresimulator.framework was changed",
)


class Xcrun:
    """Asks Xcode's programs. Errors of all: DeviceSilentError where they hang or say nothing, HostError."""

    def __init__(self, program: str, environ: Mapping[str, str]) -> None:
        self._program = program
        self._environ = environ

    async def simctl(self, *words: str, seconds: float, mark: Mapping[str, str] | None = None) -> Ended:
        """Runs `xcrun simctl`; how it ended is its caller's to judge. `mark` goes into its environment."""
        return await self._run(["simctl", *words], seconds, mark)

    async def devicectl(self, *words: str, seconds: float, mark: Mapping[str, str] | None = None) -> tuple[Any, str]:
        """Runs `xcrun devicectl`: its JSON, and what went wrong, in one line; empty where nothing did."""
        with _folder() as folder:
            file = Path(folder) / "said.json"
            limits = ["--timeout", str(max(1, round(seconds))), "--quiet", "--json-output", str(file)]
            ended = await self._run(["devicectl", *words, *limits], seconds + 1, mark)
            try:
                said = json.loads(file.read_text("utf-8"))
            except (OSError, ValueError):
                said = None
        problem = devicectl_problem(said)
        if not problem and ended.code != 0:
            problem = last_words(ended) or f"devicectl ended with {ended.code}"
        if not problem and said is None:
            problem = "devicectl wrote no answer in JSON; it needs Xcode 15 or later"
        return said, problem

    async def screen(self, udid: str, seconds: float) -> bytes:
        """What a simulator shows, as PNG. Raises OSError too, where that is no picture."""
        with _folder() as folder:
            file = Path(folder) / "screen.png"
            ended = await self.simctl("io", udid, "screenshot", "--type=png", str(file), seconds=seconds)
            if not file.is_file():
                raise DeviceSilentError(f"`xcrun simctl io screenshot` made no picture: {last_words(ended)}")
            return png_of(file.read_bytes())

    async def _run(self, words: list[str], seconds: float, mark: Mapping[str, str] | None) -> Ended:
        argv = [self._program, *words]
        environ = {**self._environ, **(mark or {})}
        ended = await run_program(argv, environ, seconds, advice=ADVICE, apart=True, most_bytes=_MOST_BYTES)
        shown = "xcrun " + " ".join(words[:3])
        if ended.code is None:
            raise DeviceSilentError(f"`{shown}` did not end in {seconds:g} s, and was killed")
        if ended.code != 0 and any(text in ended.errors.lower() for text in _OF_HOST):
            raise HostError(f"`{shown}` can't be used ({last_words(ended)}): {ADVICE}")
        return ended


@contextmanager
def _folder() -> Iterator[str]:
    try:
        made = tempfile.TemporaryDirectory(prefix="qgjob-", ignore_cleanup_errors=True)
    except OSError as error:
        raise HostError(f"this host has no room for an answer of devicectl: {error.strerror}; make room") from error
    with made as folder:
        yield folder


def last_words(ended: Ended) -> str:
    """What a program said of its failure, on one line of at most 300 characters."""
    text = ended.errors.strip() or ended.output.strip()
    return " ".join(text.split())[:300]
