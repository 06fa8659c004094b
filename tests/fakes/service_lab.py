"""A host of a test's own for `install-service`: folders, and service managers that write down what they are told."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

from qgjob_agent.service import command
from qgjob_agent.service.installing import Machine

USER = pwd.getpwuid(os.getuid()).pw_name
"""One that this machine has, and whose files this one may make."""


class Lab:
    """A host of the test's own, whose service manager writes down what it is told."""

    def __init__(self, folder: Path, platform: str = "linux", uid: int = 0) -> None:
        self.folder = folder
        self.said = folder / "said"
        self.config = folder / "agent.toml"
        self.config.write_text('agent_id = "agent-1"\ndrain_seconds = 100\n')
        self.systemd()
        self.launchd()
        environ = {"PATH": str(folder / "bin"), "QGJOB_TOKEN": 'a "secret"', "ANDROID_HOME": "/opt/sdk"}
        self.machine = Machine(platform, uid, folder / "home", environ, folder / "etc")

    def manager(self, name: str, body: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.said}\n{body}\n')
        path.chmod(0o755)

    def systemd(self, *looks: dict[str, object], starts: int = 0) -> None:
        """What its `show` says at each look, the last for ever; by default that one runs for long. See `_answers`."""
        found = [RUNS | each for each in looks or ({},)]
        self._answers("systemctl", "show", ["\n".join(f"{k}={v}" for k, v in each.items()) for each in found], starts)

    def launchd(self, *looks: str, starts: int = 0) -> None:
        """As `systemd`, of `launchctl print`, which fails where that is empty."""
        self._answers("launchctl", "print", list(looks) or [f"\tstate = running\n\tpid = {OLD}\n"], starts)

    def _answers(self, name: str, verb: str, looks: list[str], starts: int) -> None:
        """A service manager that says this when it is asked by the verb, and ends with `starts` else."""
        for number, said in enumerate(looks):
            (self.folder / f"{name}.{number}").write_text(said)
        counter, last = self.folder / f"{name}.asked", len(looks) - 1
        counter.write_text("0")
        self.manager(
            name,
            f"""case " $* " in *" {verb} "*)
    n=$(/bin/cat {counter}); [ "$n" -lt {last} ] && echo $((n + 1)) > {counter}
    [ -s {self.folder}/{name}.$n ] && exec /bin/cat {self.folder}/{name}.$n; exit 113;; esac; exit {starts}""",
        )

    def install(self, *, run_as: str | None = None, user: bool = False, force: bool = False, show: bool = False) -> int:
        wish = command.wish(str(self.config), "qgjob-agent", run_as, user=user, force=force)
        return command.run(wish, show=show, machine=self.machine)

    @property
    def files(self) -> dict[str, str]:
        """What was written, by its path below the host's folder, with its rights."""
        found = [each for base in ("etc", "home") for each in (self.folder / base).rglob("*") if each.is_file()]
        return {str(each.relative_to(self.folder)): stat.filemode(each.stat().st_mode) for each in found}

    @property
    def told(self) -> list[str]:
        """What the service manager was told since the last question."""
        lines = self.said.read_text().splitlines() if self.said.exists() else []
        self.said.unlink(missing_ok=True)
        return lines


OLD = 1
"""A process that has run for long."""
RUNS: dict[str, object] = {
    "ActiveState": "active", "SubState": "running", "Result": "success", "ExecMainStatus": 0, "MainPID": OLD
}  # fmt: skip
ENABLED = [
    "systemctl daemon-reload",
    "systemctl enable --now qgjob-agent.service",
    "systemctl show -p ActiveState,SubState,Result,ExecMainStatus,MainPID qgjob-agent.service",
]
UNIT, ENV = "etc/systemd/system/qgjob-agent.service", "etc/qgjob/qgjob-agent.env"
