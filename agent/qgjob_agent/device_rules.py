"""What a device of `agent.toml` may have so that requirements of jobs can ask for it.

The coordinator says the same of `devices label` and of requirements, in its service/validation.py; the two programs
share no code, and a test holds their rules equal.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FIELDS = ("target", "platform", "os_version", "device_model", "device_id")
"""What requirements take for a field of the device, and so for no label."""

MAX_DEVICES = 1000
MAX_UDID = 255
MAX_LABELS = 64
MAX_LABELS_BYTES = 64 * 1024
"""Of all keys and values of a device's labels, in UTF-8."""
MAX_VALUE = 1024
MAX_VERSION = MAX_MODEL = 128
_VERSION = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
# Control characters, ends of lines and paragraphs, bidi controls, lone surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def label_problem(key: str, value: str) -> str | None:
    """Why no requirement could ask for a label; None if one can. `Platform` and `os-version` mean fields too."""
    folded = key.lower().replace("-", "_").replace(".", "_")
    if folded in FIELDS:
        return f"could not be asked for: requirements take {key} for the device's {folded}; choose another name"
    if not value:
        return "is empty, and requirements can't ask for that; give it a value or leave it out"
    if len(value) > MAX_VALUE:
        return f"is {len(value)} characters long, and requirements can't ask for more than {MAX_VALUE}; shorten it"
    if _CONTROL.search(value):
        return "contains a control character, and requirements can't ask for that; leave it out"
    return None


def version_problem(version: str) -> str | None:
    """Why no requirement could ask for a version of an operating system; None if one can."""
    if len(version) > MAX_VERSION:
        return f"is {len(version)} characters long, and requirements can't ask for more than {MAX_VERSION}; shorten it"
    if _VERSION.fullmatch(version):
        return None
    return "is not a version; write its parts with dots between them, such as 14 or 14.1"


def line_problem(text: str, most: int) -> str | None:
    """Why a text is no line of at most so many characters; None if it is one."""
    if not text:
        return "is empty; give it a value or leave it out"
    if len(text) > most:
        return f"is {len(text)} characters long and may have {most}; shorten it"
    return "contains a control character; leave it out" if _CONTROL.search(text) else None


def first_problem(
    udid: str, os_version: str | None, model: str | None, labels: Mapping[str, str]
) -> tuple[str, str, str] | None:
    """The first of a device's settings that is wrong: its name, its value, and why; None if all are right."""
    if (why := line_problem(udid, MAX_UDID)) is not None:
        return "udid", udid, why
    if os_version is not None and (why := version_problem(os_version)) is not None:
        return "os_version", os_version, why
    if model is not None and (why := line_problem(model, MAX_MODEL)) is not None:
        return "model", model, why
    if len(labels) > MAX_LABELS:
        return "labels", f"{len(labels)} labels", f"at most {MAX_LABELS} are allowed; leave some out"
    for key, value in labels.items():
        if (why := label_problem(key, value)) is not None:
            return f"labels.{key}", value, why
    size = sum(len(key) + len(value.encode()) for key, value in labels.items())
    if size > MAX_LABELS_BYTES:
        return (
            "labels",
            f"{size} bytes",
            f"at most {MAX_LABELS_BYTES} bytes are allowed in keys and values; shorten them",
        )
    return None


def with_label(labels: dict[str, str], key: str, value: str) -> dict[str, str]:
    """The labels of a device with one more, where it has a value, nothing is set there, and there is room."""
    more = {key: value, **labels}
    fits = len(more) <= MAX_LABELS and sum(len(k) + len(v.encode()) for k, v in more.items()) <= MAX_LABELS_BYTES
    return more if value and fits else labels
