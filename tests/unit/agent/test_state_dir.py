"""What makes an agent the same agent after a restart."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from qgjob_agent.errors import StateDirError
from qgjob_agent.executions import lease_file
from qgjob_agent.executions.lease_file import LeaseFile, LeaseTime, read_lease
from qgjob_agent.state_dir import EpochFile, StateDir

if TYPE_CHECKING:
    from pathlib import Path


def test_the_epoch_grows_over_restarts(tmp_path: Path) -> None:
    first = EpochFile(tmp_path / "epoch")
    assert [first.raise_above(), first.raise_above()] == [1, 2]
    first.close()
    again = EpochFile(tmp_path / "epoch")
    assert again.raise_above() == 3
    again.close()


def test_the_epoch_jumps_above_what_a_refusal_named(tmp_path: Path) -> None:
    epochs = EpochFile(tmp_path / "epoch")
    assert epochs.raise_above(99) == 100
    assert epochs.raise_above(7) == 101
    epochs.close()


def test_the_epoch_is_on_the_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    epochs = EpochFile(tmp_path / "epoch")
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.pread(fd, 20, 0)))
    epochs.raise_above(41)
    assert [int(content) for content in synced] == [42]
    epochs.close()


@pytest.mark.parametrize("damage", [b"", b"garbage\n", b"\xff\xfe"])
def test_a_damaged_epoch_starts_again_below_any_refusal(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "epoch").write_bytes(damage)
    epochs = EpochFile(tmp_path / "epoch")
    assert epochs.raise_above() == 1
    epochs.close()


def test_a_second_daemon_is_told_who_holds_the_directory(tmp_path: Path) -> None:
    held = StateDir.open(tmp_path / "state")
    with pytest.raises(StateDirError, match=rf"used by another agent \(process {os.getpid()}\)"):
        StateDir.open(tmp_path / "state")
    held.close()
    StateDir.open(tmp_path / "state").close()


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateDirError, match="can't be used"):
        StateDir.open(tmp_path / "file" / "state")


def test_supervisors_read_what_the_daemon_wrote(tmp_path: Path) -> None:
    path = str(tmp_path / "lease")
    assert read_lease(path) is None
    file = LeaseFile(path)
    file.write(LeaseTime(123456.5, 48.0, 6.0))
    file.write(LeaseTime(7.25, 4.0, 0.5))
    assert read_lease(path) == LeaseTime(7.25, 4.0, 0.5)
    assert LeaseTime(7.25, 4.0, 0.5).ends_at == 11.25
    file.close()


def test_a_torn_lease_is_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "lease"
    file = LeaseFile(str(path))
    file.write(LeaseTime(123456.5, 48.0, 6.0))
    file.close()
    path.write_bytes(path.read_bytes().replace(b"123456", b"923456"))
    assert read_lease(str(path)) is None


def test_a_lease_that_is_being_written_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read before is over by then: who took that for the last word would end a test."""
    path = tmp_path / "lease"
    file = LeaseFile(str(path))
    file.write(LeaseTime(7.25, 4.0, 0.5))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"7.25", b"6.25"))
    monkeypatch.setattr(lease_file.time, "sleep", lambda _: path.write_bytes(whole))
    assert read_lease(str(path)) == LeaseTime(7.25, 4.0, 0.5)
    file.close()
