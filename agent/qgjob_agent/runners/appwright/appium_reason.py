"""What an Appium that did not come up said of the reason. Pure."""

from __future__ import annotations

import re

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_ERROR = re.compile(r"\w*Error: |\[ERROR\]|\berror: ")
_FRAME = re.compile(r"at |\|")  # of a stack, or of what points at a word
_MOST = 300


def reason_in(log: str) -> str:
    """The last line that names an error, since a stack follows it; else the last one that is of no stack."""
    lines = ["".join(char for char in _COLOURS.sub("", line) if char.isprintable()).strip() for line in log.split("\n")]
    said = [line for line in lines if line and not _FRAME.match(line)]
    named = [line for line in said if _ERROR.search(line)]
    return (named or said or ["it said nothing"])[-1][:_MOST]
