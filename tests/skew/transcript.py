"""A recorded talk between an agent and a coordinator: lines of JSON, each of them one of

{"at": ms, "up": message}       the agent said it (qgjob.v1.ConnectRequest)
{"at": ms, "down": message}     the coordinator said it (qgjob.v1.ConnectResponse)
{"at": ms, "do": [what, test]}  meanwhile: a job of this test is submitted or cancelled, or the stream breaks

in the order in which the one who recorded saw them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

DEVICE_ID = "older-1"
AGENT_ID = "older"
ORG = "skew"

SCRIPTS = {
    "passes.js": "echo hello; exit 0",
    "fails.js": "echo no; exit 3",
    "is-cancelled.js": "echo up; sleep 60",
    "outlives-its-stream.js": "while [ ! -e go ]; do sleep 0.05; done; echo gone on",
}
"""What the tests did when they were recorded."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line; `kind` is up, down or do."""

    at: int
    kind: str
    what: Any


def read(path: Path) -> list[Line]:
    """All lines of a recording."""
    found = []
    for text in path.read_text("utf-8").splitlines():
        fields: dict[str, Any] = json.loads(text)
        at = fields.pop("at")
        ((kind, what),) = fields.items()
        found.append(Line(at, kind, what))
    return found


def write(path: Path, lines: list[Line]) -> None:
    """Replaces a recording."""
    path.write_text("".join(json.dumps({"at": x.at, x.kind: x.what}) + "\n" for x in lines), "utf-8")


def said(message: Message) -> dict[str, Any]:
    """A message as recordings have it."""
    found: dict[str, Any] = MessageToDict(message, preserving_proto_field_name=True)
    return found
