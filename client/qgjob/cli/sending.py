"""What is told of a push while it lasts."""

from __future__ import annotations

import time

from qgjob.cli.runner import tell
from qgjob.cli.sizes import size_words

TOLD_SECONDS = 2.0


class Sent:
    """Says on stderr how far a push is, now and then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0.0

    def __call__(self, sent: int, size: int) -> None:
        """So many bytes are sent, of so many."""
        now = time.monotonic()
        if now < self._next and sent < size:
            return
        self._next = now + TOLD_SECONDS
        tell(f"{self._name}: {size_words(sent)} of {size_words(size)} sent")
