"""What was installed is remembered across restarts, and never made up."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from qgjob_agent.devices.packages import PackageSays
from qgjob_agent.devices.remembered import Ours, Remembered

SAYS = PackageSays("7", "2026-11-30 09:00:00", "/data/app/~~a==/com.x.y-b==")


def ours(package: str = "com.x.y", used_at_ms: int = 1, digest: str | None = "d") -> Ours:
    return Ours(package, "acme", "v1", digest, "d" * 64, SAYS, used_at_ms)


@pytest.fixture
def log() -> LogCapture:
    return LogCapture()


def opened(folder: Path, log: LogCapture) -> Remembered:
    return Remembered(folder, structlog.wrap_logger(None, processors=[log]))


def test_a_restart_forgets_nothing(tmp_path: Path, log: LogCapture) -> None:
    first = opened(tmp_path / "installed", log)
    first.put("R5", ours("com.x.late", 20))
    first.put("R5", ours("com.x.early", 10, digest=None))
    first.put("127.0.0.1:5555", ours("com.x.y"))
    again = opened(tmp_path / "installed", log)
    assert again.of("R5") == [ours("com.x.early", 10, digest=None), ours("com.x.late", 20)]
    assert again.of("127.0.0.1:5555") == [ours("com.x.y")]
    assert again.of("127.0.0.1-5555") == []  # another serial
    assert again.of("..") == []
    assert log.entries == []


def test_only_what_was_meant_is_forgotten(tmp_path: Path, log: LogCapture) -> None:
    remembered = opened(tmp_path, log)
    old, new = ours(used_at_ms=1), ours(used_at_ms=2)
    remembered.put("R5", old)
    remembered.put("R5", new)
    remembered.forget("R5", old)  # another took its place
    assert remembered.of("R5") == [new]
    remembered.forget("R5", new)
    assert remembered.of("R5") == opened(tmp_path, log).of("R5") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda said: "no json",
        lambda said: json.dumps([1]),
        lambda said: json.dumps(said | {"version": 2}),
        lambda said: json.dumps(said | {"serial": "other"}),
        lambda said: json.dumps(said | {"packages": [{"package": "com.x.y"}]}),
        lambda said: json.dumps(said | {"packages": [said["packages"][0] | {"org_id": 7}]}),
        lambda said: json.dumps(said | {"packages": [said["packages"][0] | {"used_at_ms": "1"}]}),
        lambda said: json.dumps(said | {"packages": [said["packages"][0] | {"says": None}]}),
        lambda said: json.dumps(said)[:40],
        lambda said: "[" * 60_000,
    ],
)
def test_a_file_that_is_not_understood_is_as_none_and_said(tmp_path: Path, log: LogCapture, change) -> None:  # type: ignore[no-untyped-def]
    opened(tmp_path, log).put("R5", ours())
    file = tmp_path / "R5.json"
    file.write_text(change(json.loads(file.read_text())))
    remembered = opened(tmp_path, log)
    assert remembered.of("R5") == []
    assert [line["event"] for line in log.entries] == ["installed_not_read"]
    remembered.put("R5", ours())
    assert opened(tmp_path, log).of("R5") == [ours()]


def test_a_disk_that_takes_nothing_costs_no_memory(tmp_path: Path, log: LogCapture) -> None:
    (tmp_path / "file").write_text("")
    remembered = opened(tmp_path / "file" / "below", log)
    remembered.put("R5", ours())
    assert remembered.of("R5") == [ours()]
    assert "installed_not_written" in [line["event"] for line in log.entries]
