"""Test files for a lab, and what is looked at when they have ended."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from qgjob_agent.core.values import Assignment, Outcome
from tests.integration.appwright.lab import DEVICE, Lab

HEAD = 'import { test, expect } from "@playwright/test";\nimport * as fs from "node:fs";\n'
SOUND = HEAD + 'test("one", async () => { console.log("said by", process.env.QGJOB_TEST_PATH); });\n'
TWO = SOUND + 'test("two", async () => { expect(1 + 1).toBe(2); });\n'
FAILING = HEAD + 'test("sum", async () => { console.log("before"); expect(1 + 1).toBe(3); });\n'


def waiting(mark: Path, go_on: str = "false") -> str:
    """A test that says that it runs, then waits until told or for ever."""
    return (
        HEAD + 'test("waits", async () => {\n'
        f'  fs.writeFileSync({str(mark)!r}, "");\n'
        f"  while (!({go_on})) await new Promise((done) => setTimeout(done, 20));\n"
        "});\n"
    )


class Kept:
    """Takes the evidence of an attempt, and reads it."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.began_at_ms = 0

    def take(self, _what: Assignment, files: Path, output: Path, _end: object, began_at_ms: int = 0) -> None:
        self.began_at_ms = began_at_ms
        self.files = {each.name: each.read_text(errors="replace") for each in (*files.iterdir(), output)}


def start(lab: Lab, *tests: str, **fields: object) -> None:
    assert lab.runner is not None
    lab.runner.start(DEVICE, [lab.job(test, **fields) for test in tests])


def outcomes(lab: Lab, *tokens: str) -> list[Outcome]:
    return [lab.told.finished(token).outcome for token in tokens]


def costs_little(begun_ms: int, ends_ms: list[int]) -> None:
    """Between the ends of two files, which do nothing, is what a file costs: 0.3 s, where a start takes 2 s.

    A busy machine takes longer for both.
    """
    first, further = ends_ms[0] - begun_ms, sorted(later - earlier for earlier, later in pairwise(ends_ms))
    print(f"the first file took {first} ms, further ones {further} ms")
    assert further[len(further) // 2] <= max(300, 0.15 * first), (first, further)
