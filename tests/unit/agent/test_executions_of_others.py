"""What another runner began is ended as the agent starts, and what its tests left by then is kept."""

from __future__ import annotations

import json
from pathlib import Path

import structlog
from structlog.testing import capture_logs

from qgjob_agent.core.events import AttemptStarted
from qgjob_agent.core.values import Assignment
from qgjob_agent.executions import names
from qgjob_agent.host.process_tree import hunt, marked
from qgjob_agent.runners.of_others import end_of_others
from tests.fakes.agent_core import assignment
from tests.fakes.waiting import until
from tests.unit.agent.test_appwright_runner import DEVICE as PHONE
from tests.unit.agent.test_appwright_runner import Bench as Phones
from tests.unit.agent.test_command_runner import DEADLINE_SECONDS, DEVICE, Told, runner_of
from tests.unit.agent.test_evidence import Bench as Shelves

PRINTS = 'echo as far as this; echo png > "$0/shot.png"; sleep 600; :'


async def test_of_a_command_its_output_and_its_files_are_kept(tmp_path: Path) -> None:
    """Nobody else looks for it, its lease is renewed with those of this agent, and another attempt begins anew."""
    told, root, shelves = Told(), tmp_path / "executions", Shelves(tmp_path)
    runner = runner_of(told, tmp_path, "sh", "-c", PRINTS, "{output_dir}")
    runner.start(DEVICE, [assignment("t1")])
    execution = runner._attempts["t1"].execution
    shot = execution.output_dir / "shot.png"
    await until(lambda: told.output and shot.exists() and shot.read_text(), "it does not get so far")
    await runner.close()
    async with shelves.running() as keeper:
        with capture_logs() as logs:
            for each in (root, tmp_path / "nowhere"):
                await end_of_others(each, 0.2, structlog.get_logger(), keeper, set())
        await until(lambda: shelves.coordinator.got, "it is not sent")
    assert not marked(names.MARKER, execution.path.name)
    said = [(each["event"], each["job_ids"], each["error"]) for each in logs if each["event"] == "execution_not_known"]
    assert said == [("execution_not_known", ["acme~t1"], "it is of another runner than this agent has now")]
    assert shelves.coordinator.got == [("t1", {"log.txt": b"as far as this\n", "shot.png": b"png\n"}, [])]
    assert list(root.iterdir()) == []
    assert execution.process is not None
    execution.process.wait(DEADLINE_SECONDS)


async def test_of_a_run_each_attempt_that_had_begun_keeps_its_own(tmp_path: Path) -> None:
    phones, shelves = Phones(tmp_path), Shelves(tmp_path)
    runner = phones.runner()
    runner.start(
        PHONE, [phones.job("a"), phones.job("b", json.dumps({"until": str(tmp_path / "never")})), phones.job("c")]
    )
    await until(
        lambda: [each.token for each in phones.events if isinstance(each, AttemptStarted)] == ["a", "b"],
        "no second one",
    )
    execution = runner._attempts["b"][0].execution
    await runner.close()
    for index in range(3):
        (execution.files_of(index) / "shot.png").write_text(f"of {index}")
    async with shelves.running() as keeper:
        await end_of_others(tmp_path / "runs", 0.2, structlog.get_logger(), keeper, {"a"})
        await until(lambda: shelves.coordinator.got, "it is not sent")
    assert not hunt(names.MARKER, execution.path.name, None, DEADLINE_SECONDS)
    assert shelves.coordinator.got == [("b", {"shot.png": b"of 1"}, [])], "the first is told, the third had not begun"
    assert list((tmp_path / "runs").iterdir()) == []
    assert execution.process is not None
    execution.process.wait(DEADLINE_SECONDS)


class Given:
    """Whose evidence was given to the keeper."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def take(self, what: Assignment, _files: Path, _output: Path, _end: object, _began_at_ms: int = 0) -> None:
        self.tokens.append(what.token)


async def test_of_one_that_was_told_long_ago_nothing_is_handed_on(tmp_path: Path) -> None:
    """Its result has left the spool, and what was kept of it is away: all that is known is that it began."""
    phones, given = Phones(tmp_path), Given()
    runner = phones.runner()
    runner.start(PHONE, [phones.job("a"), phones.job("b", json.dumps({"until": str(tmp_path / "never")}))])
    await until(
        lambda: [each.token for each in phones.events if isinstance(each, AttemptStarted)] == ["a", "b"],
        "no second one",
    )
    execution = runner._attempts["b"][0].execution
    runner.settled("a")
    runner.told("a")
    await until(lambda: not execution.attempt_dir(0).exists(), "it is not taken away")
    await runner.close()
    await end_of_others(tmp_path / "runs", 0.2, structlog.get_logger(), given, set())
    assert given.tokens == ["b"]
    assert execution.process is not None
    execution.process.wait(DEADLINE_SECONDS)


async def test_one_that_this_version_does_not_know_is_ended_without(tmp_path: Path) -> None:
    """Whose it was is not known."""
    execution = tmp_path / "executions" / "one"
    (execution / names.OUT).mkdir(parents=True)
    (execution / names.SPEC).write_text(json.dumps({"assignment": {"job_id": "acme~t1", "later": 1}}))
    shelves = Shelves(tmp_path)
    with capture_logs() as logs:
        await end_of_others(tmp_path / "executions", 0.2, structlog.get_logger(), shelves.keeper(), set())
    assert [(each["event"], each["job_ids"]) for each in logs] == [("execution_not_known", ["acme~t1"])]
    assert not execution.exists()
    assert list(shelves.shelf._path.iterdir()) == []
