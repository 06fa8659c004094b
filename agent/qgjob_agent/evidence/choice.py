"""Which of the files that an attempt left are kept, and what is said of the others. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgjob_agent.evidence.kinds import BY_WORTH, safe_name

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one attempt's files."""

    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Found:
    """A file that was found: its path from the folder, and what it shows."""

    path: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Named:
    """A file that is kept: under which name, where it lies, what it shows."""

    name: str
    path: str
    kind: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files that are not kept, and why. `files` is 0 where something could not be made."""

    files: int
    size_bytes: int
    reason: str


@dataclass(slots=True)
class Choice:
    """What is kept, the most telling first, and what is not."""

    kept: list[Named] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def choose(found: Sequence[Found], bounds: Bounds, passed_over: int = 0, *, complete: bool = True) -> Choice:
    """`passed_over` were no plain files, or could not be read. Not `complete`: there were too many to look at."""
    choice = Choice()
    refused: dict[str, list[int]] = defaultdict(list)
    names: set[str] = set()
    size = 0
    for each in sorted(found, key=lambda f: (BY_WORTH.index(f.kind), f.path)):
        name = safe_name(each.path)
        if not each.size_bytes:
            continue  # it would say nothing
        if name is None:
            refused["their names are too long"].append(each.size_bytes)
        elif name in names:
            refused["their names are as another's, when what can't stand in a name is replaced"].append(each.size_bytes)
        elif len(names) >= bounds.files:
            refused[f"an attempt may leave {bounds.files} (evidence.max_files of the agent)"].append(each.size_bytes)
        elif size + each.size_bytes > bounds.size_bytes:
            most = f"{bounds.size_bytes / 1_000_000:g} MB"
            refused[f"an attempt may leave {most} (evidence.max_mb of the agent)"].append(each.size_bytes)
        else:
            names.add(name)
            size += each.size_bytes
            choice.kept.append(Named(name, each.path, each.kind, each.size_bytes))
    choice.left_out = [LeftOut(len(sizes), sum(sizes), reason) for reason, sizes in refused.items()]
    if passed_over:
        choice.left_out.append(LeftOut(passed_over, 0, "they are links or no plain files, or can't be read"))
    if not complete:
        choice.left_out.append(LeftOut(0, 0, f"there were more than {MOST_LOOKED_AT} files, so not all were looked at"))
    return choice


MOST_LOOKED_AT = 20_000
