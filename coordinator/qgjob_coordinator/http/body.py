"""From bytes to JSON, strictly: nothing that two parsers could read in two ways."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.service.validation import shown

FIELD = "body"


def decode(data: bytes) -> Any:
    """The JSON value in `data`. Raises InvalidError for what is no JSON, is not UTF-8, or names a key twice."""
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except UnicodeDecodeError as e:
        raise InvalidError(FIELD, f"is not UTF-8 (byte {e.start})") from None
    except json.JSONDecodeError as e:
        raise InvalidError(FIELD, f"is not JSON: {e.msg} at line {e.lineno}, column {e.colno}") from None
    except RecursionError:
        raise InvalidError(FIELD, "is nested too deeply") from None
    except ValueError:
        # Python reads no number of thousands of digits.
        raise InvalidError(FIELD, "holds a number of too many digits") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise InvalidError(FIELD, f"names {shown(key)} twice")
        found[key] = value
    return found


def _no_constant(word: str) -> NoReturn:
    raise InvalidError(FIELD, f"holds {word}, which is no JSON number")
