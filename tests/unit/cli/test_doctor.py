"""`qgjob doctor` over a coordinator in memory: what is printed, the exit code, and answers that are no diagnosis."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from rich.console import Console

from qgjob import Diagnosis, Finding, FindingLevel, Health, UnsupportedError
from qgjob._reach import Peer, Reach
from qgjob.cli import doctoring
from qgjob.cli.doctor_findings import Told, Visit, judge, worst
from qgjob.cli.doctor_view import Report
from qgjob.cli.settings import Settings
from qgjob_proto.v1 import fleet_pb2, types_pb2
from tests.fakes.coordinator_services import FakeCoordinator, Fault
from tests.unit.cli.conftest import Command

OK, NOTE, WARNING, PROBLEM = FindingLevel
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
SETTINGS = Settings(coordinator="a:1,b:2", token=None, org_id=None, output=None, timeout_seconds=None)
THERE = Reach(Peer.HTTP2, "10.0.0.5:50051", 0.4)


def says(fake: FakeCoordinator, *findings: tuple[str, FindingLevel, str, str | None], version: str = "0.1.0") -> None:
    """What the fake coordinator finds."""
    rows = [
        types_pb2.Finding(
            check=check, level=types_pb2.FindingLevel.Value(f"FINDING_LEVEL_{level.upper()}"), found=text, advice=advice
        )
        for check, level, text, advice in findings
    ]
    answer = fleet_pb2.DiagnoseResponse(
        level=types_pb2.FINDING_LEVEL_OK, coordinator="host:1", version=version, store_epoch=7, findings=rows
    )
    answer.timestamp.FromDatetime(datetime.now(UTC))
    fake.in_loop(lambda: setattr(fake, "diagnosis", answer))


BAD = ("store.eviction", PROBLEM, "it may evict", "run CONFIG SET maxmemory-policy noeviction")
OLD = ("agents.version", WARNING, "one is old", "update it")
FINE = ("store.memory", OK, "1 MiB in use", None)


def test_a_problem_comes_first_and_is_the_exit_code(qgjob: Command, fake: FakeCoordinator) -> None:
    says(fake, FINE, OLD, BAD)
    result = qgjob("doctor")
    lines = result.out.splitlines()
    assert result.code == 1
    assert lines[0].split(maxsplit=2) == ["problem", "store.eviction", "it may evict"]
    assert lines[1].split() == ["->", *str(BAD[3]).split()]
    assert lines[2].startswith("warning agents.version")
    assert any(line.split()[:2] == ["ok", "store.memory"] for line in lines)
    assert lines[-1].startswith("1 problem, 1 warning, ")


def test_a_warning_is_no_failure(qgjob: Command, fake: FakeCoordinator) -> None:
    says(fake, FINE, OLD)
    assert qgjob("doctor").code == 0


def test_json_has_all_fields_and_jsonl_a_finding_a_line(qgjob: Command, fake: FakeCoordinator) -> None:
    says(fake, FINE, BAD)
    whole = qgjob("doctor", "-o", "json")
    assert (whole.code, list(whole.json)) == (1, ["count", "findings", "level"])
    assert whole.json["level"] == "problem"
    assert whole.json["findings"][0] == {
        "check": "store.eviction", "level": "problem", "subject": None, "coordinator": fake.address,
        "found": BAD[2], "advice": BAD[3],
    }  # fmt: skip
    lines = qgjob("doctor", "-o", "jsonl")
    assert lines.code == 1
    assert [{**each, "found": ""} for each in lines.lines] == [{**each, "found": ""} for each in whole.json["findings"]]
    settings = next(each for each in whole.json["findings"] if each["check"] == "client.settings")
    assert "QGJOB_COORDINATOR" in settings["found"]  # where it was set


def test_nobody_there_is_a_finding_and_no_error(qgjob: Command) -> None:
    result = qgjob("doctor", "--coordinator=no-such-host.invalid", "-o", "json")
    assert (result.code, result.err) == (1, "")
    first = result.json["findings"][0]
    assert (first["check"], first["level"]) == ("client.address", "problem")
    assert "--coordinator" in first["advice"]


def test_a_hostile_text_reaches_no_terminal(qgjob: Command, fake: FakeCoordinator) -> None:
    says(fake, ("agents.refused", WARNING, "was\x1b[2Jturned\naway", "do\x07it"))
    assert not set(qgjob("doctor").out) & {"\x1b", "\x07"}


@pytest.mark.parametrize(
    ("code", "level", "words"),
    [
        (grpc.StatusCode.UNIMPLEMENTED, "warning", "older than this program"),
        (grpc.StatusCode.PERMISSION_DENIED, "problem", "fault"),
        (grpc.StatusCode.INTERNAL, "problem", "internal"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "problem", "not answered in time"),
    ],
)
def test_an_answer_that_is_no_diagnosis(
    qgjob: Command, fake: FakeCoordinator, code: grpc.StatusCode, level: str, words: str
) -> None:
    fake.faults += [Fault("Diagnose", code)] * 50
    result = qgjob("doctor", "-o", "json")
    told = next(each for each in result.json["findings"] if each["check"] == "client.answer")
    assert (told["level"], words in told["found"]) == (level, True)
    assert told["advice"]
    assert result.code == int(level == "problem")


def test_an_older_coordinator_that_does_not_serve_says_why(qgjob: Command, fake: FakeCoordinator) -> None:
    fake.faults += [Fault("Diagnose", grpc.StatusCode.UNIMPLEMENTED), Fault("GetStats")]
    fake.serving = False
    result = qgjob("doctor", "-o", "json")
    told = next(each for each in result.json["findings"] if each["check"] == "client.answer")
    assert (told["level"], "not_serving" in told["found"], "a fault that the test" in told["found"]) == (
        "problem", True, True,
    )  # fmt: skip


# What the command judges by itself.


def answer(**changes: object) -> Diagnosis:
    """A sound coordinator's."""
    values = {
        "level": OK, "coordinator": "c:1", "version": "1.2.3", "store_epoch": 7, "timestamp": NOW, "findings": (),
    } | changes  # fmt: skip
    return Diagnosis(**values)  # type: ignore[arg-type]


def visit(found: Diagnosis | None = None, address: str = "a:1", reach: Reach = THERE, seconds: float = 0.5) -> Visit:
    """One that was asked at NOW and answered after so many seconds."""
    return Visit(address, reach, NOW, NOW + timedelta(seconds=seconds), found)


def levels(found: list[Told], check: str) -> list[FindingLevel]:
    return [each.level for each in found if each.check == check]


@pytest.mark.parametrize(
    ("theirs", "level"), [("1.2.3", OK), ("1.2.2", WARNING), ("1.3.0", NOTE), ("trunk", NOTE)]
)  # fmt: skip
def test_versions(theirs: str, level: FindingLevel) -> None:
    found = judge([visit(answer(version=theirs))], "default", "1.2.3")
    assert levels(found, "client.version") == [level]


@pytest.mark.parametrize(
    ("off", "level"), [(-2.0, OK), (2.5, OK), (-3.0, NOTE), (4.0, NOTE), (-61.0, WARNING), (62.0, WARNING)]
)
def test_clocks_are_compared_as_far_as_the_answer_took(off: float, level: FindingLevel) -> None:
    found = judge([visit(answer(timestamp=NOW + timedelta(seconds=off)))], "default", "1.2.3")
    assert levels(found, "client.clock") == [level]


@pytest.mark.parametrize(
    ("epochs", "level"), [((7, 7), OK), ((7, 0), OK), ((7, 8), PROBLEM), ((7, 7, 8), PROBLEM)]
)  # fmt: skip
def test_coordinators_that_share_a_store_have_one_epoch(epochs: tuple[int, ...], level: FindingLevel) -> None:
    visits = [visit(answer(store_epoch=epoch), f"a:{n}") for n, epoch in enumerate(epochs)]
    assert levels(judge(visits, "default", "1.2.3"), "client.stores") == [level]


@pytest.mark.parametrize(
    ("rounds", "asked", "level"),
    [([(7, 8), (8, 8)], 2, OK), ([(7, 8), (7, 9)], 2, PROBLEM), ([(7, 7)], 1, OK), ([(7, 0)], 1, OK)],
)
def test_coordinators_that_seem_to_use_different_stores_are_asked_once_more(
    rounds: list[tuple[int, int]], asked: int, level: FindingLevel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of them may not have noticed a failover yet."""
    calls = []

    async def meet(address: str, _settings: Settings) -> Visit:
        calls.append(address)
        epochs = rounds[(len(calls) - 1) // 2]
        return visit(answer(store_epoch=epochs[int(address.rpartition(":")[2]) - 1]), address)

    monkeypatch.setattr(doctoring, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(doctoring, "_visit", meet)
    found = judge(asyncio.run(doctoring.visit_all(SETTINGS)), "default", "1.2.3")
    assert len(calls) == 2 * asked
    assert levels(found, "client.stores") == [level]


@pytest.mark.parametrize("peer", [peer for peer in Peer if peer is not Peer.HTTP2])
def test_each_kind_of_peer_has_its_words_and_advice(peer: Peer) -> None:
    lost = visit(reach=Reach(peer, "10.0.0.5:1", detail="why"), address="b:1")
    (told,) = [each for each in judge([lost], "here", "1") if each.check == "client.address"]
    assert (told.level, bool(told.advice), bool(told.found)) == (PROBLEM, True, True)
    beside = judge([lost, visit(answer())], "here", "1.2.3")
    assert levels(beside, "client.address") == [WARNING, OK]
    assert worst(beside) is WARNING


def test_where_nothing_listens_it_says_how_a_coordinator_is_started() -> None:
    (told,) = [each for each in judge([visit(reach=Reach(Peer.REFUSED, "10.0.0.5:1"))], "here", "1") if each.advice]
    assert "`qgjob up`" in str(told.advice)
    assert "`qgjob coordinator`" in str(told.advice)


def test_what_coordinators_say_alike_is_told_once_and_the_rest_of_each() -> None:
    alike, slow = Finding("a.b", WARNING, None, "x 1", "y"), Finding("a.c", WARNING, None, "z", "y")
    visits = [
        visit(answer(findings=(alike,)), "a:1"),
        visit(answer(findings=(Finding("a.b", WARNING, None, "x 2", "y"), slow)), "a:2"),
    ]
    found = [each for each in judge(visits, "default", "1.2.3") if each.check.startswith("a.")]
    assert [(each.check, each.coordinator) for each in found] == [("a.b", "a:1"), ("a.c", "a:2")]


ONE_OF_EACH = ("1 job of app-1", "2 jobs of app-2")
BOTH = [*ONE_OF_EACH]


def kinds(*texts: str) -> Diagnosis:
    """What says so of one org, with one advice."""
    return answer(findings=tuple(Finding("queue.unserved", WARNING, "org-a", text, "look") for text in texts))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ([ONE_OF_EACH], BOTH),
        ([ONE_OF_EACH] * 2, BOTH),
        ([ONE_OF_EACH, ("3 jobs of app-2", "1 job of app-1")], BOTH),
        ([("1 job of app-1",), ("2 jobs of app-2", "1 job of app-1")], BOTH),
        ([("x", "x")], ["x", "x"]),
    ],
    ids=["of one", "of two alike", "a number that moved", "one that only the second has", "alike of one"],
)  # fmt: skip
def test_no_finding_of_a_coordinator_is_taken_for_another_of_its_own(
    said: list[tuple[str, ...]], told: list[str]
) -> None:
    found = judge([visit(kinds(*texts), f"a:{n}") for n, texts in enumerate(said)], "here", "1.2.3")
    assert [each.found for each in found if each.check == "queue.unserved"] == told


def test_what_each_coordinator_has_by_itself_is_told_of_each() -> None:
    own = tuple(Finding(c, WARNING, None, "x", "y") for c in ("coordinator.loop", "agents.refused", "agents.sessions"))
    visits = [visit(answer(findings=own), "a:1"), visit(answer(findings=own), "b:1")]
    found = [t.coordinator for t in judge(visits, "here", "0.1.0") if t.level is WARNING]
    assert sorted(found, key=str) == ["a:1"] * 3 + ["b:1"] * 3


def test_an_older_coordinator_that_serves_is_a_warning() -> None:
    old = Visit("a:1", THERE, NOW, NOW, error=UnsupportedError("older"), health=Health("serving", "a:1"))
    found = judge([old], "default", "1.2.3")
    assert levels(found, "client.answer") == [WARNING]


def test_on_a_terminal_lines_are_wrapped_beside_the_check() -> None:
    told = Told("store.eviction", PROBLEM, None, "a:1", "one two three " * 8, "do this " * 12)
    out = io.StringIO()
    Console(file=out, width=60).print(Report([told], several=False))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert all(line.startswith(" " * 23) for line in lines[1:-1])
    assert sum("-> " in line for line in lines) == 1
