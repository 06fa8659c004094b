"""How long a command may take, as `--timeout` says: with all that it does, not only with what it waits for."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self

from qgjob.cli import options


@dataclass(frozen=True, slots=True)
class Limit:
    """So many seconds, over at `ends_at` by the clock of the event loop; None: without end."""

    seconds: float | None = None
    ends_at: float | None = None

    @classmethod
    def from_now(cls, timeout: str | None) -> Self:
        """What `--timeout` says, counted from now. Raises InvalidError."""
        seconds = options.seconds(timeout, "--timeout")
        return cls(seconds, None if seconds is None else asyncio.get_running_loop().time() + seconds)

    @property
    def over(self) -> bool:
        """Whether its time is over."""
        return self.ends_at is not None and asyncio.get_running_loop().time() >= self.ends_at

    def block(self) -> asyncio.Timeout:
        """A block that ends with TimeoutError when the time is over."""
        return asyncio.timeout_at(self.ends_at)


NONE = Limit()
