"""What a test is told of the build that its device has, and why there may be nothing to tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class AppUnknownError(Exception):
    """Nobody can say which build an attempt is to run. Says why; `unresolvable`: another try would end the same."""

    def __init__(self, message: str, *, unresolvable: bool = False) -> None:
        super().__init__(message)
        self.unresolvable = unresolvable


@dataclass(frozen=True, slots=True)
class App:
    """The build that is installed: its file, for AppWright's config, and its package or bundle id; None if unknown.

    `url` is where a cloud has it.
    """

    path: Path | None = None
    package: str | None = None
    url: str | None = None

    def variables(self) -> dict[str, str]:
        """As tests see it."""
        known = {"QGJOB_BUILD_PATH": self.path, "QGJOB_APP_PACKAGE": self.package, "QGJOB_APP_URL": self.url}
        return {name: str(value) for name, value in known.items() if value is not None}
