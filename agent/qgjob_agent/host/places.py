"""What is at a path, as far as the agent's user may look."""

from __future__ import annotations

import stat
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Place(Enum):
    """What was found. CLOSED: nobody knows, since a folder on the way may not be entered."""

    MISSING = auto()
    FOLDER = auto()
    FILE = auto()
    CLOSED = auto()


def look(path: Path) -> Place:
    """What is there. Unlike `Path.exists` and its like, which raise PermissionError, it tells what may not be seen."""
    try:
        mode = path.stat().st_mode
    except PermissionError:
        return Place.CLOSED
    except (OSError, ValueError):  # not there, or no name that anything could have
        return Place.MISSING
    return Place.FOLDER if stat.S_ISDIR(mode) else Place.FILE
