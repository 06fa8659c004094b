"""docs/operations.md knows the log lines and the metrics that the programs have."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
LOGS = PAGE.partition("\n## Logs\n")[2]
SOURCES = "\n".join(
    path.read_text(encoding="utf-8")
    for program in ("coordinator/qgjob_coordinator", "agent/qgjob_agent")
    for path in (ROOT / program).rglob("*.py")
)


def documented_lines() -> set[str]:
    first_cells = re.findall(r"^\| (`.*?) \|", LOGS, re.MULTILINE)
    return {line for cell in first_cells for line in re.findall(r"`([a-z_]+)`", cell)}


def test_every_warning_and_error_is_explained():
    written = set(re.findall(r"(?:log\.(?:warning|error|exception)|state\.warn)\(\s*\"([a-z_]+)\"", SOURCES))
    assert sorted(written - documented_lines()) == []


def test_every_explained_line_exists():
    words = set(re.findall(r"\"([a-z_]+)\"", SOURCES)) | {"job_completed", "job_failed"}  # those two are put together
    assert sorted(documented_lines() - words) == []
