"""Why the blob store can't be asked, in short words that callers are told: no address, no path, no secret."""

from __future__ import annotations

import os
import re

from obstore import exceptions

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_STATUS = re.compile(r"status: (\d{3}\b[A-Za-z ]*)")


def why_away(error: Exception) -> str:
    """What went wrong."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return "it refuses the coordinator's credentials"
    text = str(error)
    found = _OS_ERROR.search(text)
    if found is not None:
        return os.strerror(int(found[1]))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    status = _STATUS.search(text)
    if status is not None:
        return f"it answers {status[1].strip()}"
    return "no connection" if "error sending request" in text else type(error).__name__
