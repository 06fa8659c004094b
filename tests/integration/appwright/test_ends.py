"""What ends a file from outside, in its turn or before it, costs the others nothing: cancels, limits, deaths."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from random import Random

from qgjob_agent.core.events import AttemptFinished
from qgjob_agent.core.values import DeathCause, Outcome
from tests.fakes.waiting import until
from tests.integration.appwright.conftest import MakeLab
from tests.integration.appwright.files import HEAD, SOUND, TWO, outcomes, start, waiting
from tests.integration.appwright.lab import DEVICE


async def test_cancels_at_any_moment_and_what_was_taken_back_has_never_begun(make_lab: MakeLab, tmp_path: Path) -> None:
    """The files are short, so that cancels meet each moment of their lives; who has an attempt is always settled."""
    random = Random(5)  # noqa: S311 - not for secrets
    names = [f"f{number}" for number in range(16)]
    marks = tmp_path / "marks"
    marks.mkdir()
    text = HEAD + f'test("touches", async () => {{ fs.writeFileSync({str(marks)!r} + "/NAME", ""); }});\n'
    lab = await make_lab({f"{name}.spec.ts": text.replace("NAME", name) for name in names})
    lab.attempts_per_run = len(names)
    runner = await lab.begin()
    runner.start(DEVICE, [lab.job(f"{name}.spec.ts") for name in names])
    await until(lambda: any(marks.iterdir()), "the first file's test")
    victims = random.sample(names, 6)
    for name in victims:
        await asyncio.sleep(random.uniform(0, 0.05))  # no wait for anything: the moment is what is tried
        runner.kill(name, DeathCause.REVOKED, 0.2)
    await lab.ended(*names)
    for name in names:
        event = lab.told.last(name)
        if isinstance(event, AttemptFinished):
            assert event.finished.outcome is Outcome.PASSED
        else:
            assert name in victims
            cause, begun = lab.told.killed(name)
            assert cause is DeathCause.REVOKED
            assert begun or not (marks / name).exists()
    assert all((marks / name).exists() for name in names if name not in victims)


async def test_the_time_limit_is_each_attempts_own_and_holds_without_the_daemon(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    mark = tmp_path / "runs"
    lab = await make_lab({"a.spec.ts": SOUND, "b.spec.ts": waiting(mark), "c.spec.ts": SOUND})
    assert lab.runner is not None
    jobs = [lab.job("a.spec.ts"), lab.job("b.spec.ts", timeout_ms=1_500), lab.job("c.spec.ts")]
    lab.runner.start(DEVICE, jobs)
    await until(mark.exists, "the second file's test")
    await lab.die()  # the daemon is gone, its supervisor not
    (run,) = (run for line in lab.runner._lines.values() for run in line)
    await until(lambda: run.execution.result() is not None, "the supervisor's own decision")
    await lab.begin()
    assert lab.runner is not None
    settled = {"a"} if lab.told.last("a") else set()
    recovery = await lab.runner.recover(settled)
    assert {attempt.assignment.token for attempt in recovery.attempts} == {"a", "b", "c"} - settled
    lab.told.events += recovery.ended
    await lab.ended("a", "b", "c")
    assert outcomes(lab, "a", "b", "c") == [Outcome.PASSED, Outcome.TIMED_OUT, Outcome.PASSED]


async def test_the_next_daemon_tells_what_ended_once_and_adopts_what_runs_and_what_was_cancelled_never_begins(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    mark, go, touched = tmp_path / "runs", tmp_path / "go", tmp_path / "touched"
    waits = waiting(mark, f"fs.existsSync({str(go)!r})")
    touching = HEAD + f'test("touches", async () => {{ fs.appendFileSync({str(touched)!r}, "x"); }});\n'
    files = {"a": SOUND, "b": waits, "c": touching, "d": touching, "e": SOUND}
    lab = await make_lab({f"{name}.spec.ts": text for name, text in files.items()})
    start(lab, *(f"{name}.spec.ts" for name in files))
    assert lab.runner is not None
    lab.runner.start(DEVICE, [lab.job("a.spec.ts", number=2)])  # waits behind the others
    await until(lambda: mark.exists() and lab.told.begun("b"), "the second file's test")
    assert outcomes(lab, "a") == [Outcome.PASSED]
    lab.runner.kill("d", DeathCause.REVOKED, 5.0)
    assert lab.told.killed("d") == (DeathCause.REVOKED, False)
    await lab.die()
    run = lab.runner._lines[DEVICE.device_id][0]
    assert run.execution.take_back(2, DeathCause.REVOKED)  # as if it had died before it could tell that
    await lab.begin()
    recovery = await lab.runner.recover({"a", "d"})
    assert [(x.assignment.token, x.started_at_ms > 0) for x in recovery.attempts] == [
        ("b", True),
        ("c", False),
        ("e", False),
        ("a2", False),
    ]
    go.touch()
    await lab.ended(*files, "a2")
    assert outcomes(lab, "a", "b", "e", "a2") == [Outcome.PASSED] * 4
    assert lab.told.killed("c") == (DeathCause.REVOKED, False)
    assert not touched.exists()
    assert not lab.told.begun("d")
    assert len(list((tmp_path / "executions").iterdir())) == 2  # of the two groups: no fresh process was needed
    for token in (*files, "a2"):
        lab.runner.settled(token)
        lab.runner.told(token)
    await until(lab.idle, "the end of the runs")
    await until(lambda: not list((tmp_path / "executions").iterdir()), "what they left is still there")


async def test_a_cancel_silence_and_the_death_of_its_supervisor_cost_only_the_one_that_runs(
    make_lab: MakeLab, tmp_path: Path
) -> None:
    """Each in a process of its own, since each ends the one before it."""
    moves = HEAD + (
        'test("moves", async () => {\n'
        "  const pause = () => new Promise((done) => setTimeout(done, 300));\n"
        '  for (let i = 0; i < 12; i++) await test.step("a step", pause);\n'
        "});\n"
    )
    cancelled, killed = tmp_path / "cancelled", tmp_path / "killed"
    files = {
        "a": moves,
        "b": waiting(cancelled),
        "c": waiting(tmp_path / "silent"),
        "d": SOUND,
        "e": waiting(killed),
        "f": TWO,
    }
    lab = await make_lab({f"{name}.spec.ts": text for name, text in files.items()})
    assert lab.runner is not None
    silence = {"a": 8_000, "c": 1_000}
    jobs = [lab.job(f"{name}.spec.ts", silence_timeout_ms=silence.get(name, 0)) for name in files]
    lab.runner.start(DEVICE, jobs)
    await until(cancelled.exists, "the test that is cancelled")
    lab.runner.kill("b", DeathCause.REVOKED, 5.0)
    await until(killed.exists, "the test whose supervisor is killed", seconds=180)
    (run,) = lab.runs()
    os.kill(run.execution.supervisor_pid, 9)
    await lab.ended(*files)
    assert lab.told.killed("b") == (DeathCause.REVOKED, True)
    assert outcomes(lab, *"acdef") == [
        Outcome.PASSED,
        Outcome.TIMED_OUT,
        Outcome.PASSED,
        Outcome.APP_CRASHED,
        Outcome.PASSED,
    ]
    assert "nothing having moved for too long" in (lab.told.finished("c").error or "")
