"""Sizes as people read them."""

from __future__ import annotations

import pytest

from qgjob.cli.sizes import size_words


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_400, "999 kB"), (1_000_000, "1.0 MB"), (299_960_000, "300.0 MB")],
)
def test_a_size_has_its_unit(size: int, words: str) -> None:
    assert size_words(size) == words
