"""Whether an execution's folder is still there, for its supervisor. The standard library only."""

from __future__ import annotations

import os

_PAUSE_SECONDS = 1.0


def is_removed(spec_path: str) -> bool:
    """Whether what tells a daemon that an execution is here was taken away: it does not come back.

    A disk that does not say is no sign of that.
    """
    try:
        os.lstat(spec_path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


class FolderWatch:
    """Looks now and then. Seconds are of any one clock."""

    def __init__(self, spec_path: str, now: float) -> None:
        self._spec_path = spec_path
        self.next_at = now + _PAUSE_SECONDS

    def removed(self, now: float) -> bool:
        """Whether it is known to be gone. May be called as often as one likes."""
        if now < self.next_at:
            return False
        self.next_at = now + _PAUSE_SECONDS
        return is_removed(self._spec_path)
