"""The service manager of the host: has it do what is to be done, and asks it what became of the service."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from qgjob_agent.errors import ServiceError
from qgjob_agent.service.states import Phase, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

START_SECONDS = 30.0
"""How long a service may take until it runs."""
SETTLED_SECONDS = 5.0
"""A process that has run for so long has read its settings, and holds its state directory."""
_POLL_SECONDS = 0.1
_COMMAND_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Lookout:
    """How to look at a service: the command that tells its state, what that means, and what shows its log."""

    command: tuple[str, ...]
    read: Callable[[str], Seen]
    log: str


def watch(name: str, lookout: Lookout, environ: Mapping[str, str]) -> str:
    """Waits until a service has run for a while; gives what was found. Raises ServiceError where it does not run."""
    deadline = time.monotonic() + START_SECONDS
    process: int | None = None
    while True:
        seen = lookout.read(call(lookout.command, environ).stdout)
        again = seen.process is not None and process not in (None, seen.process)
        if seen.phase is Phase.ENDED or again:
            said = "it ended, and was started again" if again else seen.said
            raise ServiceError(f"{name} does not run: {said}; its log says why: {lookout.log}")
        process = seen.process or process
        if seen.process is not None and _age_seconds(seen.process) >= SETTLED_SECONDS:
            return f"it runs (process {seen.process}); its log: {lookout.log}"
        if time.monotonic() >= deadline:
            why = f"not within {START_SECONDS:g} s: {seen.said}"
            raise ServiceError(f"{name} does not run, {why}; its log: {lookout.log}")
        time.sleep(_POLL_SECONDS)


def _age_seconds(process: int) -> float:
    """How long a process has run; negative where it has ended, which the manager is about to tell."""
    try:
        return time.time() - psutil.Process(process).create_time()
    except psutil.NoSuchProcess:
        return -1.0


def run(command: Sequence[str], environ: Mapping[str, str], advice: str) -> None:
    """Has a command done. Raises ServiceError with its words where it fails, and with the advice."""
    done = call(command, environ)
    if done.returncode != 0:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        why = lines[0] if lines else f"exit code {done.returncode}"
        raise ServiceError(f"the files are written, and `{' '.join(command)}` failed: {why}; {advice}")


def call(command: Sequence[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs a command of the service manager, whatever it ends with. Raises ServiceError where it can't be run."""
    try:
        return subprocess.run(  # noqa: S603 - of the host itself
            command, env=dict(environ), capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = f"`{' '.join(command)}` can't be run ({error})"
        raise ServiceError(f"the files are written, and {why}; run it yourself") from None
