"""RFC 3339: times are milliseconds inside and texts with milliseconds and `Z` outside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.service.validation import shown

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)\Z", re.ASCII)
_FRACTION = re.compile(r"\.(\d{1,9})")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def text(ms: int) -> str:
    """`ms` since the Unix epoch as RFC 3339."""
    moment = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def parse(field: str, value: str) -> int:
    """RFC 3339 as ms since the Unix epoch; what is finer is cut off. Raises InvalidError."""
    if _TIME.match(value):
        try:
            # fromisoformat reads six digits of a fraction and no more.
            moment = datetime.fromisoformat(_FRACTION.sub(lambda m: f".{m[1]:0<6.6}", value.upper()))
        except ValueError:
            pass
        else:
            return (moment - _EPOCH) // _MILLISECOND
    raise InvalidError(field, f"{shown(value)} is not a time; write it as 2026-01-31T12:00:00.000Z")
