"""docs/operations.md knows the log lines and the metrics that the programs have."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
CONTRACT = (ROOT / "docs" / "contract.md").read_text(encoding="utf-8")
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
    written = set(re.findall(r"(?:log\.(?:warning|error|exception)|state\.warn|Sight)\(\s*\"([a-z_]+)\"", SOURCES))
    assert sorted(written - documented_lines()) == []


def test_every_explained_line_exists():
    words = set(re.findall(r"\"([a-z_]+)\"", SOURCES)) | {"job_completed", "job_failed"}  # those two are put together
    assert sorted(documented_lines() - words) == []


def section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def exported_metrics() -> set[str]:
    source = (ROOT / "coordinator/qgjob_coordinator/http/metrics.py").read_text(encoding="utf-8")
    found = re.findall(r"(\w+)\(\s*\"((?:qgjob|grpc_server)_[a-z_]+)\"", source)
    return {f"{name}_total" if "counter" in maker.lower() else name for maker, name in found}


def test_the_metrics_of_the_docs_are_those_that_are_exported():
    for page in (PAGE, CONTRACT):
        assert set(re.findall(r"`((?:qgjob|grpc_server)_[a-z_]+)`", section(page, "Metrics"))) == exported_metrics()


def test_the_probes_of_the_docs_exist():
    source = (ROOT / "coordinator/qgjob_coordinator/http/health.py").read_text(encoding="utf-8")
    served = {f"/health{path}" for path in re.findall(r"@router\.get\(\s*\"([^\"]*)\"", source)}
    for page in (section(PAGE, "Probes"), section(CONTRACT, "REST")):
        assert set(re.findall(r"/health(?:/[a-z]+)?", page.replace("`/health/ready`.", ""))) == served
