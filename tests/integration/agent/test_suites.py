"""Suites on an agent's host: made ready once however many want them, and nothing of a bad one is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs

from qgjob_agent.builds.base import BuildUnresolvedError
from qgjob_agent.builds.cache import ContentCache
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.core.events import AttemptEvent, AttemptFinished, AttemptKilled, AttemptStarted
from qgjob_agent.core.values import Assignment, DeathCause, DeviceFacts, Outcome, Target
from qgjob_agent.executions.lease_file import LeaseTime
from qgjob_agent.runners.command import CommandRunner, CommandSettings
from qgjob_agent.runners.suited import SuitedRunner
from qgjob_agent.suites import prepared, unpacking
from qgjob_agent.suites.base import SuiteAwayError, SuiteUnresolvedError
from qgjob_agent.suites.npm import Npm
from qgjob_agent.suites.prepared import Suites
from qgjob_agent.suites.shelf import SuiteShelf
from tests.fakes.agent_core import assignment
from tests.fakes.small_disk import SmallDisk, small_disk
from tests.fakes.suites import archive, digest, with_member
from tests.fakes.waiting import until

LOG: Any = structlog.get_logger()
DEVICE = DeviceFacts("emulator-1", "emulator-5554", Target.EMULATOR)
LOCK = json.dumps({"lockfileVersion": 3, "packages": {"": {}, "node_modules/x": {"version": "1.0.0"}}}).encode()
NEEDS_X = b'{"name": "e2e", "dependencies": {"x": "1"}}'
WITH_PACKAGES = {"a.sh": b"exit 0", "package-lock.json": LOCK, "package.json": NEEDS_X}
NPM = """#!/bin/sh
# npm, as far as a suite sees it: notes that it ran and where, then does what the test wants
echo "$PWD" >> "$NPM_RUNS"
. "$NPM_DOES"
mkdir -p node_modules/x && echo here > node_modules/x/index.js
"""


class Host:
    """A host with agents that share a cache, and coordinators that have `pushed`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pushed: dict[str, bytes] = {}
        self.fetched: list[str] = []
        (folder / "npm").write_text(NPM)
        (folder / "npm").chmod(0o755)
        self.npm_does("")

    def npm_does(self, script: str) -> None:
        (self.folder / "does.sh").write_text(script)

    @property
    def npm_runs(self) -> list[str]:
        runs = self.folder / "runs"
        return runs.read_text().splitlines() if runs.exists() else []

    def agent(self, name: str = "one", *, limit_bytes: int = 10_000_000, cache: Path | None = None) -> Suites:
        environ = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "NPM_RUNS": str(self.folder / "runs")}
        environ["NPM_DOES"] = str(self.folder / "does.sh")
        npm = Npm(str(self.folder / "npm"), environ, 10.0, str(self.folder / name))
        archives = ContentCache(self.folder / name, limit_bytes, LOG, kind="suite")
        return Suites(archives, self._source, SuiteShelf(cache or self.folder / "cache", limit_bytes, LOG), npm, LOG)

    async def _source(self, org_id: str, wanted: str, offset: int) -> AsyncGenerator[bytes, None]:
        self.fetched.append(wanted)
        if wanted not in self.pushed:
            raise BuildUnresolvedError(f"suite {wanted} of {org_id} can't be fetched: it is not there")
        yield self.pushed[wanted][offset:]

    def job(self, files: dict[str, bytes] | bytes, token: str = "t1", **changes: Any) -> Assignment:  # noqa: S107 - names a lease
        """An attempt whose suite has these files, which is pushed."""
        data = files if isinstance(files, bytes) else archive(dict(sorted(files.items())))
        self.pushed[digest(data)] = data
        what = {"suite_digest": digest(data), "suite_size_bytes": len(data), "test_path": "a.sh", **changes}
        return replace(assignment(token), **what)

    def left(self) -> list[str]:
        """Names of what lies in the cache, but for locks."""
        cache = self.folder / "cache"
        return sorted(p.name for part in ("kept", "drafts") for p in (cache / part).glob("*"))


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


async def test_a_suite_is_fetched_and_unpacked_once(host: Host) -> None:
    suites = host.agent()
    wanted = host.job({"a.sh": b"exit 0", "lib/b.txt": "ü".encode()})
    folders = await asyncio.gather(*(suites.ready(wanted, 60) for _ in range(4)))
    assert set(folders) == {suites.place(wanted)}
    assert (folders[0] / "lib" / "b.txt").read_text("utf-8") == "ü"
    assert await host.agent("two").ready(wanted, 60) == folders[0]
    assert host.fetched == [wanted.suite_digest]
    assert host.npm_runs == []  # it has no package.json
    assert list((host.folder / "one").iterdir()) == []  # what is unpacked needs no archive
    foreign = host.job({"a.sh": b"exit 0", "lib/b.txt": "ü".encode()}, org_id="globex")
    assert await suites.ready(foreign, 60) != folders[0]


async def test_packages_are_installed_once_for_a_lock_file(host: Host) -> None:
    """Suites that differ share them, agents of one host too, and who comes meanwhile waits."""
    one, two = host.agent("one"), host.agent("two")
    first, second = host.job(WITH_PACKAGES), host.job({**WITH_PACKAGES, "b.sh": b""})
    told = {**WITH_PACKAGES, "package.json": NEEDS_X[:-1] + b', "scripts": {"test": "x"}, "version": "2.0.0"}'}
    third = host.job(told)
    host.npm_does("sleep 0.5")
    jobs = [(one, first), (two, first), (one, second), (two, second), (two, third), (one, first)]
    found = await asyncio.gather(*(suites.ready(job, 60) for suites, job in jobs), return_exceptions=True)
    folders = [each for each in found if isinstance(each, Path)]
    assert len(folders) == len(jobs), found
    assert len(set(folders)) == 3
    for folder in folders:
        assert (folder / "node_modules" / "x" / "index.js").read_text() == "here\n"
    assert len({(folder / "node_modules").resolve() for folder in folders}) == 1
    assert len(host.npm_runs) == 1
    other_lock = host.job({**WITH_PACKAGES, "package-lock.json": LOCK.replace(b"1.0.0", b"1.0.1")})
    other_org = host.job(WITH_PACKAGES, org_id="globex")
    for job in (other_lock, other_org):
        await one.ready(job, 60)
    assert len(host.npm_runs) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"package.json": b'{"dependencies": {"x": "1"}, "scripts": {"postinstall": "patch-package"}}'},
        {"package.json": b'{"dependencies": {"x": "1"}, "workspaces": ["lib"]}'},
        {"package-lock.json": b'{"packages": {"": {}, "lib": {}, "node_modules/lib": {"link": true}}}'},
        {"package-lock.json": b'{"packages": {"node_modules/y": {"resolved": "file:y.tgz"}}}'},
        {"package-lock.json": b'{"lockfileVersion": 1, "dependencies": {"y": {"version": "file:y"}}}'},
    ],
    ids=["script", "workspaces", "link", "file", "old lock"],
)
async def test_packages_that_need_the_project_are_its_own(host: Host, changes: dict[str, bytes]) -> None:
    suites = host.agent()
    first = await suites.ready(host.job({**WITH_PACKAGES, **changes}), 60)
    second = await suites.ready(host.job({**WITH_PACKAGES, **changes, "b.sh": b""}), 60)
    assert await host.agent("two").ready(host.job({**WITH_PACKAGES, **changes}), 60) == first
    assert host.npm_runs == [str(first), str(second)]


async def test_an_installation_ends_with_the_last_who_waits_for_it(host: Host) -> None:
    host.npm_does('sleep 60 & echo "$!" > "$NPM_RUNS.pid"; wait')
    suites = host.agent()
    waiting = [asyncio.create_task(suites.ready(host.job(WITH_PACKAGES), 60)) for _ in range(2)]
    pid_file = host.folder / "runs.pid"
    await until(lambda: pid_file.exists() and pid_file.read_text().strip(), "npm was not started")
    pid = int(pid_file.read_text())
    waiting[0].cancel()
    await asyncio.wait(waiting[:1])
    os.kill(pid, 0)  # another one waits for it
    assert not waiting[1].done()
    waiting[1].cancel()
    await until(lambda: not _lives(pid), "what npm had begun lives")
    await suites.close()
    host.npm_does("")
    assert (await host.agent().ready(host.job(WITH_PACKAGES), 60) / "node_modules" / "x").exists()


def _lives(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


async def test_what_an_installation_leaves_running_is_not_waited_for(host: Host) -> None:
    host.npm_does(
        "setsid sh -c 'echo $$ > $NPM_RUNS.pid; exec sleep 60' & "
        "while ! test -s $NPM_RUNS.pid; do sleep 0.05; done"  # else it dies with npm's group
    )
    assert (await host.agent().ready(host.job(WITH_PACKAGES), 60)).is_dir()
    os.kill(int((host.folder / "runs.pid").read_text()), signal.SIGKILL)


async def test_packages_are_installed_again_for_another_node(host: Host) -> None:
    """What is compiled fits one node. A project with an installation of its own is no exception."""
    (host.folder / "bin").mkdir()
    node = host.folder / "bin" / "node"
    own = {**WITH_PACKAGES, "package.json": NEEDS_X[:-1] + b', "scripts": {"postinstall": "x"}}'}
    for number, text in enumerate(("one", "another", "another")):
        if not node.exists() or node.read_text() != text:
            node.write_text(text)
            node.chmod(0o755)
        for files in (WITH_PACKAGES, own):
            await host.agent().ready(host.job(files), 60)
        assert len(host.npm_runs) == (2, 4, 4)[number]


async def test_what_an_earlier_life_of_the_agent_had_begun_is_ended(host: Host) -> None:
    host.npm_does("exec sleep 60")
    earlier, other = host.agent(), host.agent("two")
    beginning = [
        asyncio.create_task(agent.ready(host.job(WITH_PACKAGES, org_id=org), 60))
        for agent, org in ((earlier, "acme"), (other, "globex"))
    ]
    await until(lambda: len(host.npm_runs) == 2, "npm was not started")
    await host.agent().end_leftovers()
    with pytest.raises(SuiteAwayError, match="npm ci failed with exit code -9"):
        await beginning[0]
    assert not beginning[1].done(), "another agent's is not ended"
    await asyncio.gather(earlier.close(), other.close())
    await asyncio.gather(*beginning, return_exceptions=True)


async def test_what_a_dead_agent_was_making_goes_and_what_a_living_one_makes_stays(host: Host) -> None:
    shelf = SuiteShelf(host.folder / "cache", 10_000_000, LOG)
    async with shelf.draft() as living:
        dead = living.with_name("dead")
        (dead / "suite").mkdir(parents=True)
        for each in (living, dead):
            os.utime(each, (0, time.time() - 120))
        await host.agent().ready(host.job({"a.sh": b""}), 60)
        assert [each.exists() for each in (living, dead)] == [True, False]
    assert not living.exists()


async def test_who_stops_waiting_while_a_suite_is_unpacked_ends_that(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go = threading.Event(), threading.Event()
    members = unpacking.members

    def slowly(file: Any, size: int) -> Iterator[Any]:
        for number, each in enumerate(members(file, size)):
            if number == 1:
                reached.set()
                go.wait(30)
            yield each

    monkeypatch.setattr(unpacking, "members", slowly)
    packed, folder = host.folder / "packed.tar", host.folder / "folder"
    packed.write_bytes(archive(dict.fromkeys("abc", b"")))
    folder.mkdir()
    waiting = asyncio.create_task(unpacking.unpacked(packed, folder))
    await until(reached.is_set, "it was not begun")
    waiting.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done(), "nobody may remove the folder while something is written there"
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert [path.name for path in folder.iterdir()] == ["a"]


async def test_an_installation_that_fails_says_its_last_words_and_is_not_repeated_at_once(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.npm_does("echo first; echo 'npm error no network' >&2; echo 'npm error A complete log of this run'; exit 7")
    suites = host.agent()
    for files in (WITH_PACKAGES, {**WITH_PACKAGES, "b.sh": b""}):
        with pytest.raises(SuiteAwayError, match=r"npm ci failed with exit code 7: first \| npm error no network$"):
            await suites.ready(host.job(files), 60)
    assert len(host.npm_runs) == 1
    monkeypatch.setattr(prepared, "FAILED_SECONDS", 0.0)
    suites = host.agent()
    host.npm_does(
        "sed s/^/'npm error '/ <<E\ncode EUSAGE\n\nlock file is not in sync\n\nClean install a project\nmore\nE\nexit 1"
    )
    with pytest.raises(SuiteUnresolvedError, match=r"npm error code EUSAGE \| npm error lock file is not in sync$"):
        await suites.ready(host.job(WITH_PACKAGES), 60)
    host.npm_does("")
    assert (await suites.ready(host.job(WITH_PACKAGES), 60)).is_dir()


async def test_npm_that_is_not_there_or_takes_too_long_is_told(host: Host) -> None:
    suites = host.agent()
    suites._npm = Npm("no-such-npm", {"PATH": "/nowhere"}, 10.0, "")
    with pytest.raises(SuiteAwayError, match=r"no-such-npm.*No such file.*install node, or set suites\.npm"):
        await suites.ready(host.job(WITH_PACKAGES), 60)
    host.npm_does("sleep 60")
    suites = host.agent()
    suites._npm = Npm(suites._npm.program, suites._npm.environ, 0.3, "")
    with pytest.raises(SuiteAwayError, match=r"npm ci took more than 0.3 s \(suites.install_seconds\)"):
        await suites.ready(host.job(WITH_PACKAGES), 60)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"package.json": NEEDS_X}, "has a package.json with dependencies and no package-lock.json; run `npm install`"),
        ({"package.json": NEEDS_X, "yarn.lock": b""}, "yarn.lock is not read"),
        ({"package.json": b"{"}, "has a package.json that is no JSON object"),
        ({"package.json": b"[" * 100_000}, "has a package.json that is no JSON object"),
        ({"package.json": NEEDS_X, "package-lock.json": b"1"}, "has a package-lock.json that is no JSON object"),
    ],
)
async def test_a_suite_whose_packages_can_t_be_told_is_no_suite(
    host: Host, files: dict[str, bytes], words: str
) -> None:
    with pytest.raises(SuiteUnresolvedError, match=words):
        await host.agent().ready(host.job({"a.sh": b"", **files}), 60)
    assert host.npm_runs == []


async def test_a_project_that_needs_no_package_needs_no_lock_file(host: Host) -> None:
    await host.agent().ready(host.job({"a.sh": b"", "package.json": b'{"name": "e2e", "dependencies": {}}'}), 60)
    assert host.npm_runs == []


@pytest.mark.parametrize(
    "data",
    [
        with_member(name="../../out.js"),
        with_member(name="/srv/out.js"),
        with_member(type=b"2", name="out", linkname="/"),
        archive({"a.sh": b"", "b.sh": b"x" * 5000})[:-9000],
        b"no archive",
    ],
    ids=["up", "absolute", "link", "cut", "none"],
)
async def test_of_an_archive_that_is_no_suite_nothing_is_left(host: Host, data: bytes) -> None:
    suites = host.agent()
    with pytest.raises(SuiteUnresolvedError, match=r"the archive .* push the suite with `qgjob suites push`"):
        await suites.ready(host.job(data), 60)
    assert host.left() == []
    assert not list(host.folder.parent.glob("out*"))


async def test_a_name_that_no_linux_takes_is_no_suite(host: Host) -> None:
    wanted = host.job({f"tests/{'ü' * 128}": b""})
    with pytest.raises(SuiteUnresolvedError, match="a name of more than 255 bytes; shorten it"):
        await host.agent().ready(wanted, 60)
    assert host.left() == []


async def test_a_path_that_this_host_has_no_room_for_is_another_hosts(host: Host) -> None:
    deep = "/".join(["d" * 200] * 5)
    made = host.folder
    while len(str(made)) < 3300:
        made /= "c" * 200
    suites, wanted = host.agent(cache=made), host.job({f"{deep}/a.sh": b""})
    with pytest.raises(SuiteAwayError, match=r"this host has no room for the path 'ddd.*ddd'; shorten it") as told:
        await suites.ready(wanted, 60)
    assert told.value.host_unfit


async def test_a_suite_that_is_not_kept_any_more_is_unresolved(host: Host) -> None:
    wanted = host.job({"a.sh": b""})
    host.pushed.clear()
    with pytest.raises(SuiteUnresolvedError, match="qgjob suites push DIR --org-id=acme"):
        await host.agent().ready(wanted, 60)


async def test_what_was_not_used_for_longest_goes_first_and_what_is_in_use_stays(host: Host) -> None:
    suites = host.agent(limit_bytes=45_000)
    old, used, new = (host.job({"a.sh": str(n).encode() * 5000, "n": str(n).encode()}) for n in range(3))
    first = await suites.ready(old, -30)
    await suites.ready(host.job(WITH_PACKAGES), -20)
    second = await suites.ready(used, 60)
    assert first.exists()
    third = await suites.ready(new, -1)
    assert [folder.exists() for folder in (first, second, third)] == [False, True, True]
    assert host.npm_runs
    await suites.ready(old, 60)  # and comes again
    in_use = [await suites.ready(host.job({"a.sh": str(n).encode() * 5000, "n": b""}), 60) for n in range(3, 6)]
    assert all(folder.exists() for folder in (first, second, *in_use))  # beyond the bound: all of it is in use


async def test_packages_that_went_are_installed_again(host: Host) -> None:
    suites = host.agent()
    folder = await suites.ready(host.job(WITH_PACKAGES), -10)
    packages = (folder / "node_modules").resolve().parent
    packages.with_name(packages.name + ".note").unlink()  # as of one that died while it removed them
    assert (await suites.ready(host.job(WITH_PACKAGES), 60) / "node_modules" / "x").exists()
    assert len(host.npm_runs) == 2


async def test_one_that_this_agent_keeps_no_room_for_is_another_hosts(host: Host) -> None:
    wanted = host.job({"a.sh": b"", "large": os.urandom(50_000)})
    with pytest.raises(SuiteAwayError, match=r"more than suites\.cache_mb of this agent") as caught:
        await host.agent(limit_bytes=45_000).ready(wanted, 60)
    assert caught.value.host_unfit


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk") as mounted:
        yield mounted


async def test_a_full_disk_is_told_and_nothing_is_half_there(host: Host, disk: SmallDisk) -> None:
    suites = host.agent(cache=disk.path / "cache")
    disk.fill(leave=100_000)
    wanted = host.job({"a.sh": b"", "large": os.urandom(400_000)})
    with capture_logs() as logged, pytest.raises(SuiteAwayError) as caught:
        await suites.ready(wanted, 60)
    cache = disk.path / "cache"
    reason = f"the disk refuses {cache}, which is suites.cache_dir: No space left on device; make room there"
    assert str(caught.value) == f"suite {wanted.suite_digest} of {wanted.org_id}: {reason}"
    (warned,) = (each for each in logged if each["event"] == "suite_not_kept")
    assert (warned["log_level"], warned["folder"]) == ("warning", str(cache))
    assert (warned["digest"], warned["error"]) == (wanted.suite_digest, reason)
    disk.clear()
    assert ((await suites.ready(wanted, 60)) / "large").stat().st_size == 400_000


# ---- a runner with suites ----


class Told:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.events: list[AttemptEvent] = []
        self.output = b""
        self.faults: list[Exception] = []

    def report(self, events: list[AttemptEvent]) -> None:
        self.events += events

    def not_begun(self, token: str, error: str) -> None:
        raise AssertionError(token, error)

    def failed(self, error: Exception) -> None:
        self.faults.append(error)

    def log(self, job_id: str, token: str, offset: int, data: bytes) -> None:
        del job_id, token, offset
        self.output += data

    def ended(self, token: str) -> AttemptFinished | AttemptKilled | None:
        ends = [e for e in self.events if isinstance(e, AttemptFinished | AttemptKilled) and e.token == token]
        return ends[0] if ends else None


Make = Callable[[], tuple[SuitedRunner, Told]]


@pytest.fixture
def make(host: Host) -> Make:
    def made() -> tuple[SuitedRunner, Told]:
        told, suites = Told(), host.agent()
        settings = CommandSettings(
            ("sh", "{test_path}"),
            host.folder,
            {"PATH": os.environ["PATH"]},
            10_000,
            0.2,
            host.folder / "executions",
            host.folder / "lease",
        )
        inner = CommandRunner(
            told, settings, lambda: LeaseTime(monotonic_seconds(), 60.0, 0.2), LOG, suite_of=suites.place
        )
        return SuitedRunner(inner, told, suites), told

    return made


async def test_a_test_runs_in_its_suite_and_without_one_where_the_agent_is_set_to(host: Host, make: Make) -> None:
    runner, told = make()
    (host.folder / "plain.sh").write_text("pwd")
    with_suite = host.job({"tests/a.sh": b"pwd; cat lib/x", "lib/x": b"of the suite\n"}, test_path="tests/a.sh")
    runner.start(DEVICE, [with_suite])
    await until(lambda: told.ended("t1"), "it did not end")
    runner.start(DEVICE, [replace(assignment("t2"), test_path="plain.sh")])
    await until(lambda: told.ended("t2"), "it did not end")
    folder = runner._suites.place(with_suite)
    assert told.output.decode().split("\n") == [str(folder), "of the suite", str(host.folder), ""]
    for token in ("t1", "t2"):
        end = told.ended(token)
        assert isinstance(end, AttemptFinished)
        assert end.finished.outcome is Outcome.PASSED
    await runner.close()
    assert told.faults == []


async def test_what_can_t_be_had_is_not_tried_again_and_what_may_is(host: Host, make: Make) -> None:
    runner, told = make()
    missing = host.job({"a.sh": b""}, "missing", test_path="tests/gone.sh")
    long = host.job({"a.sh": b""}, "long", test_path="x" * 300)  # no file can be called so
    linked = host.job({"a.sh": b""}, "unknown")
    linked.suite_digest = "ab" * 32
    away = host.job(WITH_PACKAGES, "away")
    host.npm_does("echo no network; exit 1")
    runner.start(DEVICE, [missing, long, linked, away])
    tokens = ("missing", "long", "unknown", "away")
    await until(lambda: told.faults or all(map(told.ended, tokens)), "they did not end")
    assert told.faults == []
    found = {}
    for token in tokens:
        end = told.ended(token)
        assert isinstance(end, AttemptFinished)
        assert end.finished.outcome is Outcome.PROVIDER_ERROR
        found[token] = (end.finished.unresolvable, end.finished.error or "")
        assert end.finished.unfetched is not end.finished.unresolvable, "the device did nothing"
    assert [unresolvable for unresolvable, _ in found.values()] == [True, True, True, False]
    assert "test_path 'tests/gone.sh' is no file of the suite" in found["missing"][1]
    assert "qgjob suites push DIR --org-id=acme" in found["unknown"][1]
    assert "no network" in found["away"][1]
    assert not [e for e in told.events if isinstance(e, AttemptStarted)]


async def test_an_attempt_that_is_ended_before_its_suite_is_ready_never_begins(host: Host, make: Make) -> None:
    runner, told = make()
    host.npm_does("touch $NPM_RUNS.begun; while ! test -e $NPM_RUNS.go; do sleep 0.05; done")
    files = {**WITH_PACKAGES, "a.sh": b"echo ran"}
    runner.start(DEVICE, [host.job(files, token) for token in ("t1", "t2")])
    await until((host.folder / "runs.begun").exists, "npm was not started")
    runner.kill("t1", DeathCause.REVOKED, 0.0)
    (killed,) = told.events
    assert isinstance(killed, AttemptKilled)
    assert (killed.token, killed.cause, killed.begun) == ("t1", DeathCause.REVOKED, False)
    (host.folder / "runs.go").touch()
    await until(lambda: told.ended("t2"), "it did not end")
    assert told.output == b"ran\n"
    await runner.close()
    assert told.faults == []
