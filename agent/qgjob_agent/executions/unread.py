"""Executions of an earlier daemon that this one can't read: a newer version's, damaged ones, or the disk's to give.

What the disk withholds is asked for again for a while: not to know of an execution is not to have none. What stays
unread is of nobody knows which attempts, on nobody knows which device. So its tree is ended before the agent shows what
it has and begins anything: the coordinator then takes those attempts for lost with an agent, and has them run again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.values import DeathCause
from qgjob_agent.errors import StateDirError
from qgjob_agent.executions import names
from qgjob_agent.executions.folder import ExecutionFolder
from qgjob_agent.executions.kill_pace import KillPace
from qgjob_agent.executions.records import RecordError
from qgjob_agent.host.plain_file import is_withheld
from qgjob_agent.host.process_tree import hunt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qgjob_agent.executions.records import ExecutionResult

T = TypeVar("T")

PATIENCE_SECONDS = 15.0
"""So long the disk is asked again. Meanwhile the leases of what can be read are not renewed."""
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 2.0
SUPERVISOR_SECONDS = 10.0
"""So long after its grace a supervisor may take to end its tree; then it is killed, and its tree hunted down."""
LAST_SECONDS = 5.0
"""So long a supervisor without a tree may take to leave its result; then its folder goes all the same."""
_LOOK_SECONDS = 0.05


async def look_through(
    root: Path, read: Callable[[Path], T | None], grace_seconds: float, log: Any
) -> list[tuple[Path, T | None]]:
    """Each folder below `root` with what `read` says of it; None: nothing was begun there, or nothing of it lives.

    `read` is called beside the event loop. It may raise OSError where the disk does not say, and RecordError. Raises
    StateDirError where the disk does not say for long which folders there are.
    """
    paths = await _below(root, log)
    tried = await asyncio.to_thread(lambda: [_tried(path, read) for path in paths])
    ending = [
        asyncio.create_task(_again(path, read, told, grace_seconds, log), name="execution-unread")
        for path, told in tried
        if isinstance(told, Exception)
    ]
    try:
        again = dict(await asyncio.gather(*ending))
    finally:
        for task in ending:
            task.cancel()
    return [(path, again[path] if isinstance(told, Exception) else told) for path, told in tried]


async def _below(root: Path, log: Any) -> list[Path]:
    try:
        return await patiently(root, lambda: sorted(root.iterdir()), log)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        why = f"what an earlier life of this agent began in {str(root)!r} can't be read: {_said(error)}"
        raise StateDirError(f"{why}; it may live, so nothing is begun: mend that and start the agent again") from error


def _tried(path: Path, read: Callable[[Path], T | None]) -> tuple[Path, T | Exception | None]:
    try:
        return path, read(path)
    except (OSError, RecordError) as error:
        return path, error


async def _again(
    path: Path, read: Callable[[Path], T | None], error: Exception, grace_seconds: float, log: Any
) -> tuple[Path, T | None]:
    try:
        if isinstance(error, OSError):
            return path, await patiently(path, lambda: read(path), log)
    except (OSError, RecordError) as last:
        error = last
    jobs = error.job_ids if isinstance(error, RecordError) else []
    log.warning("execution_not_known", path=str(path), error=_said(error), job_ids=jobs)
    await _end(ExecutionFolder(path), grace_seconds, log)
    return path, None


class _Patience:
    """How long the disk is asked again, which is said once."""

    def __init__(self, path: Path, log: Any) -> None:
        self._path, self._log = path, log
        self._give_up_at = monotonic_seconds() + PATIENCE_SECONDS
        self._pause = 0.0

    async def wait(self, error: OSError) -> bool:
        """Pauses, longer each time; False when it has taken too long."""
        if monotonic_seconds() >= self._give_up_at:
            return False
        if not self._pause:
            self._log.warning("execution_not_read", path=str(self._path), error=_said(error))
        self._pause = min(2 * self._pause, LONGEST_PAUSE_SECONDS) or FIRST_PAUSE_SECONDS
        await asyncio.sleep(self._pause)
        return True


async def patiently(path: Path, read: Callable[[], T], log: Any) -> T:
    """What `read` gives, asked again while the disk withholds it. Raises its OSError when that takes too long, and at
    once where that is an answer.
    """
    patience = _Patience(path, log)
    while True:
        try:
            return await asyncio.to_thread(read)
        except OSError as error:
            if not is_withheld(error) or not await patience.wait(error):
                raise


async def read_to_the_end(
    execution: ExecutionFolder, read: Callable[[], list[T]], withheld: Callable[[], OSError | None], log: Any
) -> list[T]:
    """What was told until the end of an execution whose supervisor has ended.

    `read` gives what is new, and `withheld` why that may not be all.
    """
    patience, told = _Patience(execution.path, log), read()
    while (error := withheld()) is not None:
        if not await patience.wait(error):
            log.warning("execution_result_not_read", path=str(execution.path), error=_said(error))
            break
        told += read()
    return told


async def result_of_ended(execution: ExecutionFolder, log: Any) -> ExecutionResult | None:
    """How an execution ended whose supervisor has; None where that is not said, or the disk withholds it for long."""
    try:
        return await patiently(execution.path, execution.result, log)
    except OSError as error:
        log.warning("execution_result_not_read", path=str(execution.path), error=_said(error))
        execution.give_up_result()
        return execution.result()


async def _end(folder: ExecutionFolder, grace_seconds: float, log: Any) -> None:
    """Ends the tree of an execution: by its supervisor, as long as that lives and does it. Raises OSError.

    A supervisor that can't be told or killed, since its lock does not say who it is, ends with its tree.
    """
    if folder.adopt():
        folder.cancel(DeathCause.AGENT_LOST, grace_seconds)
        if not await _supervisor_ends(folder, grace_seconds + SUPERVISOR_SECONDS):
            folder.kill_supervisor()
    folder.close()
    pace, told = KillPace(), tuple[int, ...]()
    while living := await asyncio.to_thread(hunt, names.MARKER, folder.path.name, folder.cgroup, 0.0):
        step = pace.look(monotonic_seconds(), living)
        if step.stuck and step.stuck != told:
            log.warning("execution_will_not_end", path=str(folder.path), pids=list(step.stuck))
            told = step.stuck
        await asyncio.sleep(step.pause_seconds)
    await _supervisor_ends(folder, LAST_SECONDS)


async def _supervisor_ends(folder: ExecutionFolder, seconds: float) -> bool:
    """Waits for it. False where it takes longer."""
    give_up_at = monotonic_seconds() + seconds
    while folder.supervised:
        if monotonic_seconds() >= give_up_at:
            return False
        await asyncio.sleep(_LOOK_SECONDS)
    return True


def _said(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
