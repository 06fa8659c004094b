"""How far the machines go: steps that were really taken, counted."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

NIGHTLY = os.environ.get("HYPOTHESIS_PROFILE") == "nightly"
LEAST = 100_000 if NIGHTLY else 10_000
"""Of a whole machine; a shorter one says so."""


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
