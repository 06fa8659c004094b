"""What a file shows, by its name and its first bytes; and under which name it is kept. Pure."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

LOG = "log"
JUNIT = "junit"
SCREENSHOT = "screenshot"
VIDEO = "video"
TRACE = "trace"
DEVICE_LOG = "device_log"
OTHER = "other"
BY_WORTH = (LOG, JUNIT, DEVICE_LOG, SCREENSHOT, TRACE, OTHER, VIDEO)
"""Which files are kept first, where not all have room: those that tell the most for their size."""

MAX_NAME_BYTES = 480
"""Less than a coordinator takes: it may put something before a name."""
HEAD_BYTES = 4096

_BY_SUFFIX = {
    SCREENSHOT: (".png", ".jpg", ".jpeg", ".webp", ".gif"),
    VIDEO: (".mp4", ".webm", ".mov", ".mkv", ".avi"),
    LOG: (".log",),
}
_TRACE = re.compile(r"(^|[^a-z])trace[^/]*\.zip\Z")
_DEVICE_LOG = re.compile(r"(^|[^a-z])(logcat[^/]*|device[-_.]log(\.[a-z]+)?)\Z")
_SUITE = re.compile(rb"<testsuites?[\s>/]")
# What coordinators refuse in a name: control characters, ends of lines, bidi controls, lone surrogates, backslashes.
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\\]")


def kind_of(name: str, head: bytes) -> str:
    """The kind of a file that begins with `head`."""
    lower = PurePosixPath(name).name.lower()
    if lower.endswith(".xml") and _SUITE.search(head) is not None:
        return JUNIT
    if _TRACE.search(lower) is not None:
        return TRACE
    if _DEVICE_LOG.search(lower) is not None:
        return DEVICE_LOG
    return next((kind for kind, suffixes in _BY_SUFFIX.items() if lower.endswith(suffixes)), OTHER)


def safe_name(name: str) -> str | None:
    """A path among an attempt's files as coordinators take it; None for one that is too long."""
    fit = _UNFIT.sub("_", name).replace("..", "__")
    if fit.startswith("-"):
        fit = f"_{fit[1:]}"
    return fit if len(fit.encode()) <= MAX_NAME_BYTES else None
