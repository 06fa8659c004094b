"""How far the machines go: steps that were really taken, counted.

A step is one rule of a machine, however many calls of the store it takes. `make test` looks for a moment, `make
machines`, which each change has to pass, takes 10,000 of each machine, and `make nightly` 100,000, others each time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
LEAST = {"nightly": 100_000, "machines": 10_000}.get(PROFILE, 1_000)
"""What each machine has to take at least."""


def examples(test: int, machines: int, nightly: int) -> int:
    """How many lives a machine has, by the profile."""
    return {"nightly": nightly, "machines": machines}.get(PROFILE, test)


NIGHTLY = PROFILE == "nightly"


@dataclass
class Steps:
    """Of one machine; `taken` counts."""

    taken: int = 0

    @contextmanager
    def at_least(self, least: int, request: pytest.FixtureRequest) -> Iterator[None]:
        """Fails when the block has taken fewer, unless something failed: then a machine stops early."""
        failed = request.session.testsfailed
        self.taken = 0
        yield
        print(f"{self.taken} steps")
        assert self.taken >= least or request.session.testsfailed > failed
