"""A core under test: its clock is a number, its world is the test, and what it says can be read as lines."""

from __future__ import annotations

from typing import Any, TypeVar

from qgjob_agent.core import events, instructions
from qgjob_agent.core.machine import Machine
from qgjob_agent.core.values import (
    AgentFacts,
    App,
    Assignment,
    DeviceFacts,
    Finished,
    Installation,
    Limits,
    Outcome,
    Started,
    Target,
    TreeDead,
    Verdict,
)

T = TypeVar("T")
LEASE_SECONDS = 60.0
WINDOW_SECONDS = 48.0
HEARTBEAT_SECONDS = 5.0


class Core:
    """One machine with its devices, all of them emulators. Times are seconds from an arbitrary start."""

    def __init__(self, *device_ids: str, **limits: Any) -> None:
        facts = [DeviceFacts(device_id, device_id, Target.EMULATOR) for device_id in device_ids or ("d1",)]
        limits = {"credit": 100, "kill_grace_seconds": 10.0} | limits
        self.machine = Machine(AgentFacts("agent", "instance", "0", "host"), facts, Limits(**limits))
        self.now = 1_000.0
        self.epoch = 0
        self.said: list[instructions.Instruction] = []

    @property
    def state(self) -> Any:
        return self.machine.state

    def tell(self, event: events.Event) -> list[instructions.Instruction]:
        """Hands one event over; gives and remembers the instructions."""
        given = self.machine.handle(event, self.now, int(self.now * 1000))
        self.said += given
        return given

    def after(self, seconds: float) -> Core:
        """Lets time pass; nobody tells the core."""
        self.now += seconds
        return self

    # ---- what the world does ----

    def connect(self) -> instructions.SendHello:
        self.epoch += 1
        return only(self.tell(events.SessionConnecting(self.epoch)), instructions.SendHello)

    def welcome(self, **fields: Any) -> list[instructions.Instruction]:
        values = {"adopted": list(self.state.session.shown), "released": [], "revoked": []} | fields
        return self.tell(events.Welcomed(self.epoch, 5_000, 15_000, 60_000, 10_000, **values))

    def open(self, **welcome: Any) -> Core:
        self.connect()
        self.welcome(**welcome)
        return self

    def warm(self, app: str = "v1", digest: str | None = None) -> Core:
        """Has the app version installed on every device."""
        for device in self.state.devices.values():
            device.installed = App("acme", app, digest)
        return self

    def assign(
        self,
        *tokens: str,
        device: str = "d1",
        app: str = "v1",
        digest: str | None = None,
        epoch: int | None = None,
    ) -> Any:
        assignments = [assignment(token, device, app, digest) for token in tokens]
        return self.tell(events.Assigned(self.epoch if epoch is None else epoch, assignments))

    def heartbeat(self) -> instructions.SendHeartbeat:
        """Waits until the core sends its next heartbeat."""
        self.now = self.state.session.next_heartbeat_at
        return only(self.tell(events.Woken()), instructions.SendHeartbeat)

    def confirm(self, seq: int, **fields: Any) -> list[instructions.Instruction]:
        return self.tell(events.HeartbeatConfirmed(self.epoch, seq, **fields))

    def finish(self, token: str, outcome: Outcome = Outcome.PASSED) -> list[instructions.Instruction]:
        at = int(self.now * 1000)
        return self.report(events.AttemptFinished(token, Finished(outcome, at, at, 0)))

    def dead(self, token: str) -> list[instructions.Instruction]:
        return self.report(events.AttemptKilled(token, int(self.now * 1000)))

    def report(self, *what: events.AttemptEvent) -> list[instructions.Instruction]:
        return self.tell(events.RunnerReported(list(what)))

    def flush(self) -> list[instructions.Instruction]:
        return self.tell(events.FlushDue())

    def acknowledge(self, *report_ids: int, verdict: Verdict = Verdict.APPLIED) -> list[instructions.Instruction]:
        return self.tell(events.ReportsAcknowledged(self.epoch, [(report_id, verdict) for report_id in report_ids]))


def assignment(token: str, device: str = "d1", app: str = "v1", digest: str | None = None) -> Assignment:
    path = f"tests/{token}.spec.js"
    return Assignment(f"acme~{token}", token, 1, 1, device, "acme", app, path, build_digest=digest)


def every(given: list[instructions.Instruction], kind: type[T]) -> list[T]:
    return [instruction for instruction in given if isinstance(instruction, kind)]


def only(given: list[instructions.Instruction], kind: type[T]) -> T:
    found = every(given, kind)
    assert len(found) == 1, f"{len(found)} times {kind.__name__} in {lines(given)}"
    return found[0]


def started(given: list[instructions.Instruction]) -> list[str]:
    """Tokens that were begun."""
    return [item.token for start in every(given, instructions.Start) for item in start.assignments]


def lines(given: list[instructions.Instruction]) -> list[str]:
    """What the core said, one line each, for people; timers left out."""
    return [line for line in map(_line, given) if line]


def _line(given: instructions.Instruction) -> str:  # noqa: C901, PLR0912 - a table
    match given:
        case instructions.SendHello(epoch=epoch, held=held):
            return f"hello {epoch}: {_held(held)}"
        case instructions.SendHeartbeat(seq=seq, held=held):
            return f"heartbeat {seq}: {_held(held)}"
        case instructions.SendReports(reports=reports, installed=installed):
            return "send " + ", ".join([*map(_installed, installed), *map(_report, reports)])
        case instructions.Persist(reports=reports):
            return "spool " + ", ".join(map(_report, reports))
        case instructions.Unspool(report_ids=report_ids):
            return f"unspool {report_ids}"
        case instructions.Install(assignment=what):
            return f"install {what.app_version_id} on {what.device_id}"
        case instructions.SendInstalled(installation=installation):
            return f"tell {_installed(installation)}"
        case instructions.Start(device_id=device_id, assignments=assignments):
            return f"start {' '.join(item.token for item in assignments)} on {device_id}"
        case instructions.Kill(token=token, cause=cause):
            return f"kill {token}: {cause.value}"
        case instructions.SendRecallAnswer(released=released, kept=kept):
            return f"give back {released} keep {kept}"
        case instructions.Note(event=event):
            return f"note {event}"
        case instructions.RenewLease():
            return "renew"
        case instructions.FlushAt() | instructions.WakeAt():
            return ""
    return type(given).__name__


def _installed(told: Installation) -> str:
    return f"install {told.outcome.value} {told.install_ms} ms"


def _held(held: list[Any]) -> str:
    return ", ".join(f"{item.token} {item.phase.value}" for item in held) or "nothing"


def _report(report: Any) -> str:
    token, body = report.lease.token, report.body
    match body:
        case Started():
            return f"{token} started"
        case Finished():
            return f"{token} {body.outcome.value}"
        case TreeDead():
            return f"{token} dead ({body.cause.value})"
    return f"{token} {body.percent}%"
