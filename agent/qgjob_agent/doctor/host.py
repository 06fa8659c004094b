"""The host itself: the state directory, its disk, and the command that the runner starts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from qgjob_agent.core.disk import MIN_FREE_INODES, READMIT_FACTOR
from qgjob_agent.doctor.asking import beside
from qgjob_agent.doctor.findings import Finding, fine, note, problem, unused, warning
from qgjob_agent.host.places import Place, look
from qgjob_agent.host.startable import Named, problems

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from qgjob_agent.config import AgentConfig

_MB = 1_000_000
_CLOCK_SECONDS = 2.0
"""Times of files and of processes are not of one clock to the tick."""


@dataclass(frozen=True, slots=True)
class Host:
    """What is looked at: an agent's settings, on this platform (as in `sys.platform`)."""

    config: AgentConfig
    platform: str

    @property
    def environ(self) -> Mapping[str, str]:
        """What the programs of this host are started with, that are no tests."""
        return self.config.environ


async def state(host: Host) -> list[Finding]:
    """Whether the state directory can be used, and whether a daemon uses it."""
    return [await beside(lambda: _state(host.config.state_path))]


def _state(path: Path) -> Finding:
    check = "host.state"
    pid = holder(path)
    if pid is not None:
        return _held(path, pid)
    if look(path) is Place.CLOSED:
        return problem(check, f"{path} may not be looked at", "ask as the user that the agent runs as")
    if look(path) is Place.MISSING:
        return fine(check, f"{path} is made when the agent starts")
    lock = path / "lock"
    if not os.access(path, os.W_OK | os.X_OK) or (lock.exists() and not os.access(lock, os.W_OK)):
        advice = "ask as the user that the agent runs as, or give the folder to that user (chown -R)"
        return problem(check, f"{path} is another user's", advice)
    return fine(check, f"{path} can be used, and no agent does")


def _held(path: Path, pid: int) -> Finding:
    """Of a directory that a daemon holds: another user's sees other files, and has other rights, than this one."""
    check, found = "host.state", f"{path} is held by the agent that runs (process {pid})"
    try:
        daemon, me = psutil.Process(pid).username(), psutil.Process().username()
    except (psutil.Error, KeyError):
        return fine(check, found)
    if daemon == me:
        return fine(check, found)
    return note(check, f"{found} as {daemon}; all that is told here was looked at as {me}", f"ask as {daemon}")


def holder(path: Path) -> int | None:
    """The process of the daemon that holds a state directory, as far as can be seen without taking its lock."""
    try:
        written_at = (path / "lock").stat().st_mtime
        pid = int((path / "lock").read_text("ascii"))
        process = psutil.Process(pid)
        # A later process that got the same number was begun after the lock was written.
        alive = process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= written_at + _CLOCK_SECONDS
    except (OSError, ValueError, psutil.Error):
        return None
    return pid if alive else None


async def disk(host: Host) -> list[Finding]:
    """Whether the disk of the state directory has the room without which no work is taken."""
    return [await beside(lambda: _disk(host.config))]


def _disk(config: AgentConfig) -> Finding:
    check, path = "host.disk", config.state_path
    there = next(each for each in (path, *path.parents) if look(each) is Place.FOLDER)
    found = os.statvfs(there)
    free_mb = found.f_bavail * found.f_frsize // _MB
    text = f"{free_mb} MB are free on the disk of {there}"
    advice = "make room there, or set state_dir to a folder on another disk"
    if free_mb < config.min_free_mb:
        return problem(check, f"{text}: with less than min_free_mb ({config.min_free_mb}) no work is taken", advice)
    if config.min_free_mb and found.f_files and found.f_favail < MIN_FREE_INODES:
        return problem(check, f"{found.f_favail} inodes are free there: with so few no work is taken", advice)
    if free_mb < config.min_free_mb * READMIT_FACTOR:
        return warning(check, f"{text}: below {config.min_free_mb} MB no work is taken", advice)
    if config.finds_devices and free_mb < config.builds.cache_mb:
        less = "set builds.cache_mb to less, or make room"
        return note(check, f"{text}, and builds.cache_mb lets builds take {config.builds.cache_mb}", less)
    return fine(check, text)


async def command(host: Host) -> list[Finding]:
    """Whether the runner `command` can start what it is to start, and that devices that are found have a runner."""
    return await beside(lambda: list(_command(host.config)))


def _command(config: AgentConfig) -> Iterator[Finding]:
    check = "host.command"
    if config.runner == "simulated" and config.finds_devices:
        found = 'is "simulated": tests pass on the devices that are found, and nothing is run'
        yield warning(check, found, 'set runner to "appwright" or "command"', "runner")
        return
    if config.runner != "command":
        yield unused(check, f'runner is "{config.runner}"')
        return
    named = Named("command.argv", "command.cwd")
    wrong = list(problems(config.command.argv, config.command.cwd or Path.cwd(), config.test_environ, named))
    for name, value, why in wrong:
        yield problem(check, f"{value!r} {why}", f"mend {name}: no test can be started so", name)
    if not wrong:
        yield fine(check, f"{config.command.argv[0]} can be started in {config.command.cwd}")
