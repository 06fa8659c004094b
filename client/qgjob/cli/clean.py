"""Remote text made harmless for a terminal, and for the CI that reads it."""

from __future__ import annotations

import re
import unicodedata

from qgjob.cli.guard import present

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"  # OSC, DCS, SOS, PM, APC, to their end
    r"|\x1b[ -/]*[0-~]?"  # the rest
    r"|\x9b[0-?]*[ -/]*[@-~]",  # CSI in one character
    re.DOTALL,
)
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Cc: control characters. Cf: marks that change the direction of text, and invisible ones. Cs: lone surrogates.
_UNSAFE = frozenset({"Cc", "Cf", "Cs"})
_SPACES = str.maketrans({"\n": " ", "\r": " ", "\t": " ", "\u2028": " ", "\u2029": " "})


def clean(text: str) -> str:
    """One line without escape sequences, control characters and direction marks, as the `Guard` lets it through."""
    stripped = _ESCAPES.sub("", text).translate(_SPACES)
    if stripped.isascii() and stripped.isprintable():
        return present().line(stripped)
    return present().line("".join([char for char in stripped if unicodedata.category(char) not in _UNSAFE]))


def clean_log(text: str) -> str:
    """A log for a terminal: lines, tabs and colours stay, everything else that a terminal obeys goes."""
    kept: list[str] = []
    end = 0
    for match in _COLOURS.finditer(text):
        kept += [_clean_lines(text[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*kept, _clean_lines(text[end:])])


def _clean_lines(text: str) -> str:
    stripped = _ESCAPES.sub("", text)
    return "".join([char for char in stripped if char in "\n\t" or unicodedata.category(char) not in _UNSAFE])
