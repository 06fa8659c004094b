"""The contract's rules for what callers send. Nothing here touches the store."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache

from qgjob_coordinator.errors import InvalidError

ID_RULE = "use 1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}~[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")  # one look: agents send many
_ULID_AND_TILDE = 27
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
# Control characters, ends of lines and paragraphs, bidi controls, lone surrogates.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_HALF = "holds half of a surrogate pair, which is no character; send UTF-8"
_VERSION = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z")
_FORBIDDEN_IN_PATH = re.compile(_CONTROL.pattern[:-1] + r"\\]")

DEVICE_FIELDS = ("target", "platform", "os_version", "device_model", "device_id")
"""What requirements take for a field of the device, and so for no label.

The agent says the rules of devices too, of `agent.toml`, in its device_rules.py; a test holds the two equal.
"""

PLATFORMS = ("android", "ios")

MAX_PATH_BYTES = 512
MAX_PAIRS = 64
MAX_VALUE = 1024
MAX_ENV_VALUE = 32 * 1024
MAX_PAIRS_BYTES = 64 * 1024
MAX_TEXT = 500
MAX_VERSION = MAX_MODEL = 128
MAX_INT = 2**53
MAX_EXACT = 2**53 - 1
"""Lua's numbers are doubles: up to here no two whole numbers are the same one."""
MAX_MS = 253_402_300_799_999
"""The end of the year 9999."""
MAX_SHOWN = 80


def shown(value: object) -> str:
    """A value in an error message, in JSON's words but for the quotes of texts; plain ASCII, and cut."""
    text = ascii(value) if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def entry(field: str, key: str) -> str:
    """The path of an entry of a map, as in `labels.rack`. Plain ASCII, and cut: the key may be anything."""
    name = ascii(key)[1:-1]
    return ".".join(filter(None, (field, name if len(name) <= MAX_SHOWN else name[: MAX_SHOWN - 3] + "...")))


@lru_cache(maxsize=65536)
def is_id(value: str) -> bool:
    """Whether `value` is an id of the contract."""
    return _ID.match(value) is not None


def check_id(field: str, value: object) -> str:
    """An id of the contract. Raises InvalidError."""
    if isinstance(value, str) and is_id(value):
        return value
    if value is None:
        raise InvalidError(field, f"is required; {ID_RULE}")
    if value == "":
        raise InvalidError(field, f"is empty; {ID_RULE}")
    raise InvalidError(field, f"{shown(value)} is not an id; {ID_RULE}")


def check_digest(field: str, value: object) -> str:
    """A SHA-256. Raises InvalidError."""
    if isinstance(value, str) and _DIGEST.match(value):
        return value
    if not value:
        raise InvalidError(field, "is required; give the SHA-256 of the file, 64 digits")
    raise InvalidError(field, f"{shown(value)} is not a SHA-256; write 64 hexadecimal digits in lower case")


def is_ulid(value: str) -> bool:
    """Whether `value` is an upper-case ULID."""
    return _ULID.match(value) is not None


def split_job_id(value: object, field: str = "job_id") -> tuple[str, str]:
    """(org_id, ULID) of a job id. Raises InvalidError for one that is malformed."""
    if isinstance(value, str) and _JOB_ID.match(value) is not None:
        return value[:-_ULID_AND_TILDE], value[1 - _ULID_AND_TILDE :]
    if value in (None, ""):
        raise InvalidError(field, f"is {'required' if value is None else 'empty'}; it looks like <org_id>~<ULID>")
    raise InvalidError(field, f"{shown(value)} is not a job id; it looks like <org_id>~<ULID>")


def check_path(field: str, value: object) -> str:
    """A test path. Raises InvalidError that says which rule it breaks."""
    if (
        isinstance(value, str)
        and value
        and value[0] not in "-/"
        and ".." not in value
        and _FORBIDDEN_IN_PATH.search(value) is None
        and len(value.encode()) <= MAX_PATH_BYTES
    ):
        return value
    if value in (None, ""):
        raise InvalidError(field, "is required; give the test file's path relative to its suite")
    if not isinstance(value, str):
        raise InvalidError(field, f"{shown(value)} is not a text")
    raise InvalidError(field, f"{shown(value)} {_path_fault(value)}")


def _path_fault(value: str) -> str:
    if value.startswith("/"):
        return "is absolute; give the path relative to the suite"
    if value.startswith("-"):
        return "begins with '-', which programs take for an option; put './' in front"
    if ".." in value:
        return "contains '..'; name a file inside the suite"
    if "\\" in value:
        return "contains a backslash; separate folders by '/'"
    return _unfit(value) or f"is longer than {MAX_PATH_BYTES} bytes"


def check_text(field: str, value: object, most: int = MAX_TEXT) -> str:
    """One line for people: no control characters. Raises InvalidError."""
    if not isinstance(value, str):
        raise InvalidError(field, f"{shown(value)} is not a text")
    if len(value) > most:
        raise InvalidError(field, f"is {len(value)} characters long; at most {most} are kept")
    if _CONTROL.search(value):
        raise InvalidError(field, f"{shown(value)} {_unfit(value)}")
    return value


def _unfit(text: str) -> str | None:
    """What a text holds that is no character of a line; None for one that is a line."""
    if _SURROGATE.search(text):
        return _HALF
    return "contains a control character" if _CONTROL.search(text) else None


def as_one_line(text: str) -> str:
    """What a program said, as `check_text` takes it: what is no character of a line is a space, what is over is cut."""
    line = _CONTROL.sub(" ", text)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 3] + "..."


def check_labels(field: str, value: Mapping[str, object]) -> dict[str, str]:
    """Labels: ids to short texts. Raises InvalidError."""
    if len(value) > MAX_PAIRS:
        raise InvalidError(field, f"has {len(value)} entries; at most {MAX_PAIRS} are allowed")
    checked = {check_id(entry(field, k), k): check_text(f"{field}.{k}", v, MAX_VALUE) for k, v in value.items()}
    return _within_bytes(field, checked)


def field_meant(key: str) -> str | None:
    """The field of a device that somebody means who writes `key`: `Platform` and `os-version` mean fields too."""
    folded = key.lower().replace("-", "_").replace(".", "_")
    return folded if folded in DEVICE_FIELDS else None


def check_device_labels(field: str, value: Mapping[str, object]) -> dict[str, str]:
    """Labels of a device, each of which requirements can ask for. Raises InvalidError."""
    checked = check_labels(field, value)
    for key, text in checked.items():
        meant = field_meant(key)
        if meant is not None:
            raise InvalidError(
                f"{field}.{key}",
                f"{shown(text)} could not be asked for: requirements take {key} for the device's {meant}; "
                "choose another name",
            )
        if not text:
            raise InvalidError(
                f"{field}.{key}", "is empty, and requirements can't ask for that; give it a value or leave it out"
            )
    return checked


def check_required_labels(field: str, value: Mapping[str, object]) -> dict[str, str]:
    """Labels that a device must have. Raises InvalidError, also for such as no device can have."""
    checked = check_labels(field, value)
    for key, text in checked.items():
        meant = field_meant(key)
        if meant is not None:
            hint = "the job's target" if meant == "target" else meant
            raise InvalidError(f"{field}.{key}", f"{key} is no device label; did you mean {hint}?")
        if not text:
            raise InvalidError(f"{field}.{key}", "is empty; name a value, or leave it out")
    return checked


def check_given(field: str, value: object, most: int) -> str:
    """A line that is not empty. Raises InvalidError."""
    text = check_text(field, value, most)
    if not text:
        raise InvalidError(field, "is empty; give a value, or leave it out")
    return text


def check_platform(field: str, value: object) -> str:
    """A platform of devices. Raises InvalidError."""
    if value not in PLATFORMS:
        raise InvalidError(field, f"{shown(value)} is unknown; use {' or '.join(PLATFORMS)}")
    return str(value)


def check_model(field: str, value: object) -> str:
    """The name of a device's model. Raises InvalidError."""
    return check_given(field, value, MAX_MODEL)


def check_version(field: str, value: object) -> str:
    """A version of an operating system, or the beginning of one. Raises InvalidError."""
    value = check_given(field, value, MAX_VERSION)
    if _VERSION.match(value):
        return value
    raise InvalidError(
        field, f"{shown(value)} is not a version; write its parts with dots between them: 14 stands for 14.1 too"
    )


def check_env(field: str, value: Mapping[str, object]) -> dict[str, str]:
    """Environment variables of a test. Raises InvalidError."""
    if len(value) > MAX_PAIRS:
        raise InvalidError(field, f"has {len(value)} entries; at most {MAX_PAIRS} are allowed")
    for name, text in value.items():
        if not _ENV_NAME.match(name):
            raise InvalidError(
                entry(field, name), f"{shown(name)} is not a variable's name; use letters, digits and '_'"
            )
        if name.upper().startswith("QGJOB_"):
            raise InvalidError(f"{field}.{name}", "is reserved; names that begin with QGJOB_ are set by the agent")
        if not isinstance(text, str) or "\0" in text or len(text) > MAX_ENV_VALUE:
            raise InvalidError(f"{field}.{name}", f"must be a text of at most {MAX_ENV_VALUE} characters without NUL")
        if _SURROGATE.search(text):
            raise InvalidError(f"{field}.{name}", _HALF)
    return _within_bytes(field, {k: str(v) for k, v in value.items()})


def _within_bytes(field: str, pairs: dict[str, str]) -> dict[str, str]:
    """The same pairs, which are UTF-8 by now. Raises InvalidError when they are too large together."""
    total = sum(len(k) + len(v.encode()) for k, v in pairs.items())
    if total > MAX_PAIRS_BYTES:
        raise InvalidError(field, f"has {total} bytes in names and values; at most {MAX_PAIRS_BYTES} bytes are allowed")
    return pairs


def check_number(field: str, value: object, low: float, high: float) -> float:
    """A finite number within bounds. Raises InvalidError."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidError(field, f"{shown(value)} is not a number")
    if not math.isfinite(value) or not low <= value <= high:
        raise InvalidError(field, f"{_plain(value)} is out of range; use {_plain(low)} to {_plain(high)}")
    return value


def _plain(value: float) -> str:
    """Digits, as far as a double is exact; a whole number without a fraction."""
    return str(int(value)) if math.isfinite(value) and value == int(value) and abs(value) <= MAX_INT else repr(value)


def check_int(field: str, value: object, low: int, high: int) -> int:
    """A whole number within bounds. Raises InvalidError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidError(field, f"{shown(value)} is not a whole number")
    if not low <= value <= high:
        raise InvalidError(field, f"{value} is out of range; use {low} to {high}")
    return value
