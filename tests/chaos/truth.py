"""What really ran where: written by the tests themselves, on the machine's own clock, and read back afterwards.

A shell test takes a lock on its device, and one on its job, that its whole process tree holds for as long as any of it
lives. So a second execution on the device, or of the job, shows at once, whatever agents and coordinators believe, and
however the first one ended.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """\
# Run by the agents of the lab; $1 is the folder of the truth.
dir=$1
exec 9>>"$dir/$QGJOB_DEVICE_ID.lock"
if flock -n 9; then alone=1; else alone=0; fi
exec 8>>"$dir/$QGJOB_JOB_ID.lock"
if flock -n 8; then only=1; else only=0; fi
read -r now _ </proc/uptime
where="$QGJOB_DEVICE_ID $QGJOB_JOB_ID $QGJOB_ATTEMPT"
echo "B $QGJOB_EXECUTION $now $where $alone $only $QGJOB_ORG_ID $KEY" >>"$dir/runs"
code=0
case $DOES in
  fail) sleep "$SECONDS_LONG"; code=1 ;;
  flaky) sleep "$SECONDS_LONG"; [ "$QGJOB_ATTEMPT" != 1 ] || code=1 ;;
  tree) setsid sh -c "trap '' TERM; sleep 60; sleep 60" & sleep "$SECONDS_LONG" ;;
  stubborn) trap '' TERM; sleep 60; sleep 60; sleep 60 ;;
  *) sleep "$SECONDS_LONG" ;;
esac
read -r now _ </proc/uptime
echo "E $QGJOB_EXECUTION $now $code" >>"$dir/runs"
exit $code
"""


@dataclass(frozen=True)
class Run:
    """One execution. Times in seconds since boot; `ended` and `code` are None where it was killed.

    `alone`: nothing else lived on the device when it began. `only`: nothing of its job lived anywhere then. `key`: what
    it found in its environment.
    """

    execution: str
    device_id: str
    job_id: str
    attempt: int
    began: float
    alone: bool
    org_id: str
    key: str
    only: bool = True
    ended: float | None = None
    code: int | None = None


class Truth:
    """The folder where tests write. Each device has a shell of its own there: without it no test can be started."""

    def __init__(self, folder: Path, devices: Iterable[str] = ()) -> None:
        self._folder = folder
        self._shells = folder / "shells"
        self._shells.mkdir(parents=True)
        self._script = folder / "test.sh"
        self._script.write_text(SCRIPT)
        for device_id in devices:
            self.mend(device_id)

    @property
    def argv(self) -> str:
        """What the agents' `command` runner starts, in shell words."""
        return shlex.join([str(self._shells / "{device_id}"), str(self._script), str(self._folder)])

    def break_device(self, device_id: str) -> None:
        """No test can be started on the device from now on; those that run go on."""
        (self._shells / device_id).unlink(missing_ok=True)

    def mend(self, device_id: str) -> None:
        """The device can run tests (again)."""
        shell = self._shells / device_id
        if not shell.is_symlink():
            shell.symlink_to(shutil.which("sh") or "/bin/sh")

    def runs(self) -> list[Run]:
        """All executions so far, by their begin."""
        file = self._folder / "runs"
        return parse(file.read_text() if file.exists() else "")


def parse(text: str) -> list[Run]:
    """The lines that tests wrote. Raises ValueError for a line of another shape."""
    found: dict[str, Run] = {}
    for line in text.splitlines():
        match line.split(" "):
            case ["B", execution, now, device_id, job_id, attempt, alone, only, org_id, key]:
                found[execution] = Run(
                    execution, device_id, job_id, int(attempt), float(now), alone == "1", org_id, key, only == "1"
                )
            case ["E", execution, now, code] if execution in found:
                found[execution] = _ended(found[execution], float(now), int(code))
            case _:
                raise ValueError(f"the truth has a line that no test writes: {line!r}")
    return sorted(found.values(), key=lambda run: run.began)


def _ended(run: Run, at: float, code: int) -> Run:
    return Run(**{**vars(run), "ended": at, "code": code})
