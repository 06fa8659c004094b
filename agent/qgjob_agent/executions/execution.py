"""The daemon's side of an execution: makes it, begins its supervisor, finds it again after a restart."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.disk_watch import is_of_the_disk
from qgjob_agent.executions import names
from qgjob_agent.executions.folder import SUPERVISOR, ExecutionFolder
from qgjob_agent.executions.oom_kills import oom_kills
from qgjob_agent.executions.records import RecordError, assignment_of, fields_of, record_of
from qgjob_agent.executions.result_file import ResultDraft
from qgjob_agent.executions.stopped_supervisor import Limits
from qgjob_agent.host.leftovers import remove_tree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob_agent.core.values import Assignment
    from qgjob_agent.executions.lease_file import LeaseTime

_BOOT = f"import sys; sys.path.insert(0, sys.argv[1]); from {SUPERVISOR} import main; main(sys.argv[2:])"
_PYTHON = (sys.executable, "-I", "-S", "-X", "utf8")  # no site-packages, no environment: fast and the same everywhere
_ROOM_BYTES = 65_536  # what an attempt writes before its test prints anything fits in it many times
_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


@dataclass(frozen=True, slots=True)
class Several:
    """The attempts that a command carries out in order: (index, timeout_ms, silence_timeout_ms), not the command's own.

    Before it begins, each may be silent for `first_seconds`; when all have ended, the command has `last_seconds` left.
    """

    limits: list[tuple[int, int, int]]
    first_seconds: float
    last_seconds: float


@dataclass(frozen=True, slots=True)
class Command:
    """What to run and its limits. `env` is complete: nothing is inherited.

    `look_seconds` is how long the end of an attempt that runs over a limit waits for `Execution.looked`. `of_host`: no
    job has a say in which program it is.
    """

    argv: list[str]
    env: dict[str, str]
    cwd: str
    timeout_ms: int
    silence_timeout_ms: int
    grace_seconds: float
    output_bytes: int
    use_cgroup: bool = True
    several: Several | None = None
    look_seconds: float = 0.0
    of_host: bool = False


class Execution(ExecutionFolder):
    """One execution and its folder.

    `attempts` are carried out in order; `assignment` is the only one, or the first. `facts` is what the runner wrote
    down beside them. `of_host` is that of its command, where it is known.
    """

    def __init__(self, path: Path, attempts: Sequence[Assignment], facts: dict[str, Any] | None = None) -> None:
        super().__init__(path)
        self.attempts = list(attempts)
        self.assignment = self.attempts[0]
        self.facts = facts or {}
        self.of_host = False
        self._limits: Limits | None = None

    @classmethod
    def new(cls, root: Path, *attempts: Assignment) -> Self:
        """Makes the directory. Raises OSError."""
        path = root / uuid.uuid4().hex
        path.mkdir(mode=0o700, parents=True)
        try:
            (path / names.OUT).mkdir()
            (path / names.TMP).mkdir()
        except OSError:
            remove_tree(path)
            raise
        return cls(path, attempts)

    @staticmethod
    def prove_room(root: Path) -> None:
        """Makes what an attempt needs to begin, and takes it away. Raises OSError."""
        path = root / uuid.uuid4().hex
        path.mkdir(mode=0o700, parents=True)
        try:
            (path / names.OUT).mkdir()
            (path / names.TMP).mkdir()
            ResultDraft(str(path / names.RESULT_DRAFT)).close()
            (path / names.LOCK).write_bytes(b"\0" * _ROOM_BYTES)
        finally:
            remove_tree(path)

    @classmethod
    def found(cls, path: Path) -> Self | None:
        """What an earlier daemon began there; None when it had not got so far as to begin anything.

        Raises OSError where the disk does not say, RecordError for what this version does not know.
        """
        spec = record_of(path / names.SPEC)
        if spec is None:
            return None
        execution = spec.read(lambda told: cls(path, [assignment_of(told["assignment"])]))
        execution.of_host = spec.read(lambda told: told.get("of_host") is True)  # earlier versions did not say
        return execution

    def limits(self, now: float) -> Limits:
        """What its supervisor goes by; the attempts' own limits from now on, where that is not to be read."""
        if self._limits is None:
            self._limits = self._limits_found(now)
        return self._limits

    def _limits_found(self, now: float) -> Limits:
        with contextlib.suppress(OSError, RecordError):
            if (spec := record_of(self.path / names.SPEC)) is not None:
                return spec.read(lambda told: Limits.of(told, now))
        own = {i: (each.timeout_ms / 1000, each.silence_timeout_ms / 1000) for i, each in enumerate(self.attempts)}
        return Limits(now, own)

    def leave_rest(self) -> None:
        """Keeps what has not begun from beginning here; of one attempt that is nothing."""

    @property
    def output_dir(self) -> Path:
        """Where the test leaves its files."""
        return self.path / names.OUT

    # ---- beginning ----

    def launch(self, command: Command, lease: LeaseTime, lease_path: Path, held: tuple[int, ...] = ()) -> int:
        """Begins the supervisor. Gives a pipe that becomes readable when the command runs or could not be started.

        The lock is taken here and inherited, so that at no time a living supervisor is without it. So are the `held`
        files, which are to stay open for as long as it lives; its command gets none of them. What the supervisor can't
        do without has its room taken here: the disk may be full later. Raises OSError.
        """
        self._write_spec(command, lease, lease_path)
        self.of_host = command.of_host
        ResultDraft(str(self.path / names.RESULT_DRAFT)).close()
        self._make_pipe()
        self._listen()
        lock = os.open(self.path / names.LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(lock, names.lock_text(0), 0)
            ready, ready_write = os.pipe()
        except OSError:
            os.close(lock)
            raise
        # Born with SIGTERM blocked, the supervisor can't be killed by a cancel before it listens for one.
        self._oom_kills = oom_kills()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.process = self._spawn((lock, ready_write, *held))
        except OSError:
            os.close(ready)
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            os.close(lock)
            os.close(ready_write)
        self._watch(self.process.pid)
        return ready

    def _spawn(self, inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
        with (self.path / "supervisor.log").open("wb") as errors:
            return subprocess.Popen(  # noqa: S603 - our own program
                [*_PYTHON, "-c", _BOOT, _PACKAGE_ROOT, str(self.path), *map(str, inherited)],
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                pass_fds=inherited,
                env={},
                cwd="/",
                start_new_session=True,
            )

    def _write_spec(self, command: Command, lease: LeaseTime, lease_path: Path) -> None:
        several = command.several or Several([(0, command.timeout_ms, command.silence_timeout_ms)], 0.0, 0.0)
        spec = asdict(command) | {
            "execution_id": self.path.name,
            "began_at": (now := monotonic_seconds()),
            "lease": list(lease),
            "lease_path": str(lease_path),
            "limits": several.limits,
            "first_seconds": several.first_seconds,
            "last_seconds": several.last_seconds,
            "events": command.several is not None,
            "assignment": fields_of(self.assignment),
        }
        spec["env"] = command.env | {names.MARKER: self.path.name}
        self._limits = Limits.of(spec, now)
        fd = os.open(self.path / names.SPEC, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(spec, file)

    def _make_pipe(self) -> None:
        try:
            os.mkfifo(self.path / names.RESULT_PIPE, 0o600)
        except OSError as error:  # where a file system can't have one, a result that the disk refuses is lost
            if is_of_the_disk(error):
                raise
