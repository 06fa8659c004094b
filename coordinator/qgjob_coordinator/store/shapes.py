"""What scripts ask of a job's record before they change anything: see `fetch` in lua/lib/attempt.lua."""

from __future__ import annotations

import re
from collections.abc import Mapping

_COUNT = re.compile(r"0|[1-9][0-9]{0,17}")
_SHAPES = {
    "s": re.compile(r"[qsrcfx]"),
    "i": re.compile(r"[edb]\S* [0-9]+ [123] [0-9]+ ?\S*"),
    "n": re.compile(r"0|[1-9][0-9]{0,5}"),
    "r": _COUNT,
    "tr": _COUNT,
    "ir": _COUNT,
    "ou": _COUNT,
    "qd": _COUNT,
    "ov": re.compile(r"\S+ \S+.*"),
}
_LEASE = re.compile(r"[0-9]+ \S+ \S+ \S+ [0-9]+")


def usable(fields: Mapping[str, str]) -> bool:
    """Whether a script takes the record of a job, by its fields as they are kept."""
    if not {"s", "i", "h"} <= fields.keys():
        return False
    if any(field in fields and not shape.fullmatch(fields[field]) for field, shape in _SHAPES.items()):
        return False
    if "l" not in fields:
        return fields["s"] not in ("s", "r")
    return fields["s"] == "c" or ("n" in fields and bool(_LEASE.fullmatch(fields["l"])))
