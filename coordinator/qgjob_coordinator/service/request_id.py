"""The id by which the log lines of one call are found."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Iterable

from qgjob_coordinator.service.validation import is_id

REQUEST_ID = "x-request-id"
"""The header of HTTP and the metadata of gRPC that carries it, in lower case."""

_prefix = secrets.token_hex(4)
_numbers = itertools.count(1)


def request_id(given: Iterable[str]) -> str:
    """The first id among what the caller gave, else one of our own: it is for logs only, so none is refused."""
    return next(filter(is_id, given), None) or f"{_prefix}-{next(_numbers):x}"
