"""The agent as its users run it: a process, its settings in the environment, its log in a file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.fakes import waiting
from tests.fakes.forked import Process, begin

if TYPE_CHECKING:
    import signal


class AgentProcess:
    """`async with AgentProcess(tmp_path, QGJOB_COORDINATOR=…) as agent:` runs one, and kills it at the end."""

    def __init__(self, folder: Path, **environ: object) -> None:
        self.folder = folder
        self.state_dir = folder / "state"
        self.log = folder / "agent.log"
        values = {
            "AGENT_ID": "agent-1",
            "STATE_DIR": self.state_dir,
            "SIMULATED_INSTALL_SECONDS": "0",
            "SIMULATED_TEST_SECONDS": "0.05,0.1",
            "DRAIN_SECONDS": "5",
            "KILL_GRACE_SECONDS": "0.3",
        } | environ
        keep = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}
        self.environ = keep | {name: str(value) for name, value in values.items()}
        self.program = ("-m", "qgjob_agent")
        self.process: Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self, *arguments: str) -> None:
        with self.log.open("ab") as log:
            self.process = begin([sys.executable, *self.program, *arguments], self.environ, self.folder, log)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def kill(self) -> None:
        """Kill -9; its supervisors go on."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            await self.exit_code()

    async def exit_code(self) -> int:
        assert self.process is not None
        process = self.process
        await waiting.until(lambda: process.poll() is not None, lambda: f"the agent runs on:\n{self.said()}")
        return process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    async def says(self, text: str, times: int = 1) -> None:
        await waiting.until(lambda: self.said().count(text) >= times, lambda: f"{text!r} is not in:\n{self.said()}")


def alive(pid: int) -> bool:
    """False for the dead and for zombies."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"
