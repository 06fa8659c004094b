"""A call has its effect, its answer is lost, and it is made again: all is as if it had been made once.

Every call of every service has its place here: it changes something and has a case, or it does not and says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import pkgutil
import re
from collections.abc import AsyncIterator, Awaitable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import qgjob_proto.v1
from qgjob import AsyncClient, Device, JobStatus, QgjobError, UnavailableError
from qgjob_agent.spool import Spool
from qgjob_coordinator.store import keys
from tests.fakes.answers import answered
from tests.fakes.history import transitions
from tests.fakes.program import Program
from tests.fakes.reply_eater import ReplyEater
from tests.fakes.stack import AgentPlan, Stack
from tests.fakes.store_dump import dump
from tests.fakes.waiting import until
from tests.integration.stack.changing_calls import AGENT, CASES, DEVICE, NEW_RUN, RUN, ULID, Case, Judge, Scene, free
from tests.integration.stack.specs import again, command, holding, pids, pinned, simulated

ROOT = Path(__file__).parents[3]
COPIES = ("al:", "op:")
"""Keys of an org in which each call that is made anew leaves what it was answered."""

READS = {
    "GetJob": "reads one job",
    "ListJobs": "reads jobs",
    "ExplainJob": "reads a job and the fleet",
    "ListGroups": "reads groups",
    "GetRun": "counts jobs",
    "GetStats": "counts jobs and devices",
    "ListAgents": "reads the fleet",
    "ListArtifacts": "reads names of files",
    "ListBuilds": "reads names of builds",
    "ListDevices": "reads the fleet",
    "ListSuites": "reads names of suites",
    "Diagnose": "looks at the store and the fleet; what it writes to try the store is nobody's",
}
"""Calls that may be made any number of times, and why."""

OF_AGENTS = {
    "PushSmallArtifacts": (
        "tests/integration/artifacts/test_small.py::test_a_call_whose_answer_was_lost_keeps_nothing_twice",
    ),
    "ShareUpload": ("tests/integration/builds/test_uploads.py::test_each_word_may_be_said_twice",),
}
"""Calls that only agents make, and the tests in which they are made again."""

STREAMS = {
    "Connect": (
        "tests/integration/stack/test_lost_answers.py::test_a_result_whose_acknowledgement_was_lost_counts_once",
        "tests/integration/stack/test_sessions.py::test_p3_a_report_sent_twice_has_one_effect",
        "tests/unit/agent/test_protocol_rules.py::test_unacknowledged_reports_are_sent_again_in_the_next_session",
    ),
    "WatchJobs": (
        "tests/integration/stack/test_watching.py::test_a_watch_goes_on_after_its_cursor_at_another_coordinator",
        "tests/unit/client/test_watching.py::test_a_broken_watch_goes_on_after_its_cursor",
    ),
    "PushArtifacts": (
        "tests/integration/artifacts/test_keeping.py::test_a_push_that_broke_is_repeated_and_brings_what_is_missing",
    ),
    "FetchArtifact": ("tests/integration/artifacts/test_serving.py::test_a_fetch_that_broke_goes_on_where_it_ended",),
    "PushBuild": ("tests/integration/builds/test_serving.py::test_a_push_whose_answer_was_lost_is_repeated",),
    "FetchBuild": (
        "tests/integration/agent/test_build_fetching.py::test_a_fetch_that_breaks_is_its_callers_to_repeat",
        "tests/integration/agent/test_builds.py::test_a_fetch_that_broke_goes_on_where_it_ended",
    ),
    "PushSuite": (
        "tests/integration/suites/test_serving.py::test_a_push_of_a_suite_whose_answer_was_lost_is_repeated",
    ),
    "FetchSuite": (
        "tests/integration/agent/test_build_fetching.py::test_a_fetch_that_breaks_is_its_callers_to_repeat",
        "tests/integration/agent/test_builds.py::test_a_fetch_that_broke_goes_on_where_it_ended",
    ),
    "TailLogs": (
        "tests/integration/stack/test_watching.py::test_a_log_is_followed_over_two_coordinators_while_it_is_written",
        "tests/unit/client/test_watching.py::test_a_log_of_which_no_byte_is_lost_or_comes_twice",
    ),
}
"""Streams that break in mid-course, and the tests of how they go on."""


def test_every_call_of_every_service_has_its_place() -> None:
    modules = [import_module(m.name) for m in pkgutil.iter_modules(qgjob_proto.v1.__path__, "qgjob_proto.v1.")]
    services = [s for m in modules if hasattr(m, "DESCRIPTOR") for s in m.DESCRIPTOR.services_by_name.values()]
    methods = [m for service in services for m in service.methods]
    streams = {m.name for m in methods if m.client_streaming or m.server_streaming}
    assert sorted([*READS, *OF_AGENTS, *{c.rpc for c in CASES}]) == sorted(
        m.name for m in methods if m.name not in streams
    )
    assert set(STREAMS) == streams


@pytest.mark.parametrize("test", [test for tests in [*STREAMS.values(), *OF_AGENTS.values()] for test in tests])
def test_the_tests_of_the_others_exist(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture
async def scene(stack: Stack, org: str, second: AsyncClient) -> AsyncIterator[Scene]:
    """Afterwards the device has the labels that it had before, and no agent more is known."""
    nowhere = pinned(f"none-of-{org}")
    jobs = await second.submit_many(simulated(org, 2, requirements=nowhere, run_id=RUN))
    new = simulated(org, 3, requirements=nowhere, run_id=NEW_RUN)
    ids = [f"{org}~{ULID[:-1]}{n}" for n in range(3)]
    gone = f"{org}-gone"
    with stack.store.client() as raw:
        raw.hset(f"{keys.FLEET}ag:{gone}", mapping={"epoch": 1, "counter": 1, "state": "closed"})
        raw.sadd(f"{keys.FLEET}agents", gone)
        yield Scene(org, jobs, [again(spec, job_id=job_id) for spec, job_id in zip(new, ids, strict=True)], gone)
        raw.srem(f"{keys.FLEET}agents", gone)
        raw.delete(f"{keys.FLEET}ag:{gone}")
    await second.set_labels(DEVICE, {})


class Seen:
    """What a call left behind: all that the store has of the org, and the device as people see it."""

    def __init__(self, stack: Stack, s: Scene, straight: AsyncClient, case: Case) -> None:
        self._stack, self._scene, self._straight, self._case = stack, s, straight, case

    async def look(self) -> tuple[dict[str, Any], Device]:
        """Both, without what may change."""
        prefix = f"qg:o:{{{self._scene.org}}}:"
        apart = tuple(prefix + suffix for suffix in (*COPIES, *self._case.changes))
        with self._stack.store.client() as raw:
            found = {k: v for k, v in dump(raw, prefix).items() if not k.startswith(apart)}
        (device,) = [d async for d in self._straight.devices(agent_id=AGENT) if d.device_id == DEVICE]
        return found, device

    def once(self, device: Device) -> None:
        """Asserts that one call was made, in the transitions of the job and in what the device is held by."""
        with self._stack.store.client() as raw:
            ours = [t.letter for t in transitions(raw, self._scene.org) if t.job_id == self._scene.one]
        assert "".join(ours) == self._case.letters
        assert (self._case.holds or free)(device)


async def second_answer(case: Case, judge: Judge | type[QgjobError], call: Awaitable[Any], s: Scene) -> None:
    """Asserts what the second call is answered."""
    if isinstance(judge, type):
        with pytest.raises(judge):
            await call
    else:
        answer = await call
        assert judge(answer, s), answer


@pytest.mark.parametrize("way", ["cut", "given-up"])
@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_call_whose_answer_was_lost_is_one_call(
    stack: Stack, scene: Scene, second: AsyncClient, case: Case, way: str
) -> None:
    """The connection breaks and the client repeats the call; or its caller gives up, and calls anew elsewhere."""
    if case.before is not None:
        await case.before(second, scene)
    seen = Seen(stack, scene, second, case)
    async with ReplyEater(stack.ports[0]) as proxy, AsyncClient(f"127.0.0.1:{proxy.port}") as client:
        await client.health()
        proxy.eat(but_for=int(case.sent_once))  # which is asked first whether anybody answers
        late = asyncio.ensure_future(case.call(client, scene))
        await until(lambda: answered(proxy.eaten), "nothing is answered")
        assert not late.done()
        before, device = await seen.look()
        seen.once(device)
        if way == "cut":
            proxy.cut()
            if case.sent_once:
                with pytest.raises(UnavailableError):
                    await late
            await second_answer(case, case.told, case.call(client, scene) if case.sent_once else late, scene)
        else:
            late.cancel()
            await second_answer(case, case.anew or case.told, case.call(second, scene), scene)
            proxy.cut()  # what the client sends together goes on without who gave up: it is made a third time
    after, device = await seen.look()
    assert after == before
    seen.once(device)


async def test_a_result_whose_acknowledgement_was_lost_counts_once(
    stack: Stack, org: str, second: AsyncClient, tmp_path: Path
) -> None:
    """Its agent keeps the result, sends it again in its next session, and is rid of it then."""
    name = f"{org}-agent"
    async with ReplyEater(stack.ports[0]) as proxy:
        plan = AgentPlan(name, 1, "browserstack", runner="command")
        place = {"QGJOB_COORDINATOR": f"127.0.0.1:{proxy.port}"}
        agent = Program(name, "qgjob_agent", stack.folder / name, stack.agent_settings(plan) | place)
        agent.start()
        try:
            job = await second.submit(command(org, holding(tmp_path), target="browserstack", max_retries=0))
            await pids(tmp_path)
            proxy.eat()
            (tmp_path / "go").touch()
            (done,) = await second.wait(job.job_id, timeout_seconds=20)
            proxy.cut()
            await agent.says("session_opened", times=2)
            await agent.says("attempt_finished", times=2)  # as it is sent
        finally:
            await agent.end()
    with contextlib.closing(Spool(stack.folder / name / "state" / "spool.journal")) as spool:
        assert spool.pending == {}
    assert (done.status, len(done.attempts)) == (JobStatus.COMPLETED, 1)
    assert await second.get(job.job_id) == done
    with stack.store.client() as raw:
        assert "".join(t.letter for t in transitions(raw, org)) == "qsrc"
