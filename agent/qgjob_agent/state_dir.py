"""The directory that makes an agent the same agent after a restart: its lock, epoch, spool and executions."""

from __future__ import annotations

import fcntl
import hashlib
import os
import uuid
from pathlib import Path

import psutil

from qgjob_agent.errors import StateDirError

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def installed_in(path: Path) -> Path:
    """The folder of a state directory in which is kept what was installed on which device."""
    return path / "installed"


class StateDir:
    """One agent's directory, held by one daemon at a time.

    The lock is the kernel's, so it can't outlive its holder. `open` raises StateDirError naming who holds it.
    """

    def __init__(self, path: Path, lock_fd: int) -> None:
        self.path = path
        self._lock_fd = lock_fd

    @classmethod
    def open(cls, path: Path) -> StateDir:
        """Makes the directory if need be and takes its lock."""
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateDirError(f"state_dir {str(path)!r} can't be used: {error.strerror}; choose another") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(fd)
            raise StateDirError(
                f"state_dir {str(path)!r} is used by another agent (process {holder}); "
                "stop it, or give this one its own agent_id and state_dir"
            ) from None
        try:
            os.pwrite(fd, f"{os.getpid():<31}\n".encode(), 0)  # in place: on a full disk too
        except OSError as error:
            os.close(fd)
            raise StateDirError(f"state_dir {str(path)!r} can't be written: {error.strerror}") from error
        return cls(path, fd)

    @property
    def home(self) -> str:
        """The same for all daemons that can hold this directory while the machine is up, and for no other.

        Since the lock lets one of them live at a time, a coordinator takes a newer one of the same home at once, where
        it makes any other that has the agent's id wait until the older session has timed out.
        """
        there = os.fstat(self._lock_fd)
        return hashlib.blake2b(f"{_boot()}:{there.st_dev}:{there.st_ino}".encode(), digest_size=8).hexdigest()

    def gone(self) -> str | None:
        """Why the directory is not there any more that this daemon holds, in words; None while it is, or may be."""
        held = os.fstat(self._lock_fd)
        try:
            there = self._lock.stat()
        except (FileNotFoundError, NotADirectoryError):
            return f"{self.path} was removed"
        except OSError:  # the disk doesn't answer, say: that shows elsewhere
            return None
        same = (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino)
        return None if same else f"{self.path} was removed, and another one is in its place"

    @property
    def _lock(self) -> Path:
        return self.path / "lock"

    @property
    def spool(self) -> Path:
        """The journal of results."""
        return self.path / "spool.journal"

    @property
    def epoch(self) -> Path:
        """The counter of sessions."""
        return self.path / "epoch"

    @property
    def lease(self) -> Path:
        """What supervisors read; see lease_file.py."""
        return self.path / "lease"

    @property
    def builds(self) -> Path:
        """The builds that were fetched."""
        return self.path / "builds"

    @property
    def archives(self) -> Path:
        """Suites on their way to being unpacked."""
        return self.path / "archives"

    @property
    def installed(self) -> Path:
        """What was installed on which device."""
        return installed_in(self.path)

    @property
    def unpacked(self) -> Path:
        """Builds for simulators, unpacked."""
        return self.path / "unpacked"

    @property
    def executions(self) -> Path:
        """One directory for each execution that is not yet done with."""
        return self.path / "executions"

    @property
    def runs(self) -> Path:
        """As executions, of the `appwright` runner: each holds several attempts, which the other could not read."""
        return self.path / "runs"

    @property
    def by_runner(self) -> dict[str, Path]:
        """Where the executions of each runner are that has any."""
        return {"command": self.executions, "appwright": self.runs}

    @property
    def evidence(self) -> Path:
        """What attempts left and was not sent yet."""
        return self.path / "evidence"

    def close(self) -> None:
        """Lets another daemon have the directory."""
        os.close(self._lock_fd)


def _boot() -> str:
    """This boot of this machine."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:  # not Linux
        return f"{uuid.getnode()}:{psutil.boot_time()}"


class EpochFile:
    """The counter of sessions. It only grows, and is on the disk before a session is begun.

    Written in place and of a fixed width, so that a full disk does not keep the agent from connecting again.
    """

    _WIDTH = 20

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            text = os.pread(self._fd, self._WIDTH + 1, 0).decode("ascii", errors="replace").strip()
        except OSError as error:
            raise StateDirError(f"epoch file {str(path)!r} can't be used: {error.strerror}") from error
        # A damaged counter starts again at 0: the coordinator's refusal names the epoch to jump above.
        self.value = int(text) if text.isdigit() else 0

    def raise_above(self, floor: int = 0) -> int:
        """The next epoch, higher than every earlier one and than `floor`; on the disk when this returns.

        Errors: OSError where the disk refuses; then the epoch must not be used.
        """
        value = max(self.value, floor) + 1
        os.pwrite(self._fd, f"{value:0{self._WIDTH}d}\n".encode(), 0)
        os.fsync(self._fd)
        self.value = value
        return value

    def close(self) -> None:
        """Ends the counting."""
        os.close(self._fd)
