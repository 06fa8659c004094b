"""Runs the tests that are to see a mutant, with the mutant on; each mutant in a process of its own.

It is a plugin of pytest: all tests are collected once, and for each mutant a fork of that process switches the rule off
and runs the tests that its entry names. Each of these has to fail, one of its examples at least, and for the right
reason: in the test itself and by an AssertionError (a `pytest.raises` that nothing raised is one), or as the entry
says.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import select
import signal
import tempfile
import time
import traceback
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import waiting
from tests.fakes.store_process import StoreProcess
from tests.mutation.apply import apply
from tests.mutation.catalogue import Mutant
from tests.mutation.slot import Slot

HUNG_SECONDS = 180.0
STORE = "store_process"
"""The fixture in whose place a fork has the store of its slot."""
SEEN_SECONDS = 15.0
"""What a test of a mutant waits for something that the mutant may have taken away."""


@dataclass
class Outcome:
    """What became of a mutant: which of its tests saw it, and what was wrong if not all did."""

    id: str
    caught_by: list[str] = field(default_factory=list)
    how: str = ""
    wrong: str = ""
    seconds: float = 0.0

    @property
    def caught(self) -> bool:
        """By all tests that should, for the right reason."""
        return bool(self.caught_by) and not self.wrong


@dataclass
class _Failure:
    test: str
    when: str
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.test} ({self.when}) failed by {self.kind}: {' '.join(self.text.split())[:300]}"


@dataclass
class _Work:
    """What one fork does: tests by the name that they were asked for by."""

    mutant: Mutant | None
    tests: list[tuple[str, list[pytest.Item]]]
    begun: float = 0.0
    said: bytearray = field(default_factory=bytearray)

    @property
    def needs_store(self) -> bool:
        """Whether one of the tests uses the session's store."""
        return any(STORE in getattr(item, "fixturenames", ()) for _, items in self.tests for item in items)


class Mutation:
    """The plugin: `jobs` forks at once. Afterwards it has `outcomes`, and failures without any mutant in `red`."""

    def __init__(self, mutants: Sequence[Mutant], jobs: int, folder: Path, *, green: bool) -> None:
        self._folder = folder
        self._mutants = list(mutants)
        self._jobs = max(1, jobs)
        self._green = green
        self._failures: list[_Failure] = []
        self._store: StoreProcess | None = None
        self.outcomes: list[Outcome] = []
        self.red: list[str] = []

    # Hooks of pytest.

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Notes by what a test failed."""
        report = yield
        if report.failed:
            error = call.excinfo.value if call.excinfo is not None else None
            self._failures.append(_Failure(item.nodeid, report.when or "", _kind(error), str(error)))
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> StoreProcess | None:
        """Gives a fork the store that is there already."""
        if fixturedef.argname != STORE or self._store is None:
            return None
        fixturedef.cached_result = (self._store, fixturedef.cache_key(request), None)  # type: ignore[arg-type]
        return self._store

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Takes the place of pytest's own loop."""
        if session.testsfailed:
            raise session.Interrupted("the tests could not be collected")
        by_name = _by_name(session.items)
        work = []
        if self._green:
            wanted = list({id(i): i for m in self._mutants for t in m.tests for i in by_name.get(t, [])}.values())
            work += [_Work(None, [("", wanted[n :: self._jobs])]) for n in range(self._jobs)]
        for m in self._mutants:
            tests = [(t, _likely_first(by_name.get(t, []), m)) for t in m.tests]
            if missing := [t for t, items in tests if not items]:
                self.outcomes.append(Outcome(m.id, wrong=f"there is no test {', '.join(missing)}"))
            else:
                work.append(_Work(m, tests))
        session.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]  # one for all forks
        slots = [Slot(self._folder / f"store-{n}") for n in range(self._jobs)]
        try:
            self._run(session, work, slots)
        finally:
            for slot in slots:
                slot.end()
        return True

    # Forks.

    def _run(self, session: pytest.Session, work: list[_Work], free: list[Slot]) -> None:
        waiting = work[::-1]
        running: dict[int, tuple[int, _Work, Slot]] = {}  # by pipe
        while waiting or running:
            while waiting and len(running) < self._jobs:
                one, slot = waiting.pop(), free.pop()
                self._store = slot.store() if one.needs_store else None
                one.begun = time.monotonic()
                pipe, pid = self._fork(session, one)
                running[pipe] = (pid, one, slot)
            ready, _, _ = select.select(list(running), [], [], 1.0)
            for pipe in ready:
                pid, one, slot = running[pipe]
                some = os.read(pipe, 65_536)
                one.said += some
                if not some:
                    del running[pipe]
                    os.close(pipe)
                    with contextlib.suppress(OSError):
                        os.killpg(pid, signal.SIGKILL)  # what its tests left behind, before its number is another's
                    os.waitpid(pid, 0)
                    free.append(slot)
                    self._ended(one)
            for pid, one, _ in running.values():
                if one.mutant is not None and time.monotonic() - one.begun > HUNG_SECONDS:
                    os.killpg(pid, signal.SIGKILL)  # which closes its pipe

    def _fork(self, session: pytest.Session, work: _Work) -> tuple[int, int]:
        read, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            with contextlib.suppress(OSError):
                os.setpgid(pid, pid)  # both do it, so that it is done
            return read, pid
        os.close(read)
        error = ""
        try:
            os.setpgid(0, 0)
            self._in_fork(session, work)
        except BaseException:  # noqa: BLE001 - whatever it is, the parent is told
            error = traceback.format_exc()
        try:
            with os.fdopen(write, "wb") as out:
                pickle.dump((self._failures, error), out)
        finally:
            os._exit(0)

    def _in_fork(self, session: pytest.Session, work: _Work) -> None:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        # A program that ends only now may write there still; what is left goes with the folder of the run.
        with tempfile.TemporaryDirectory(prefix="mutant-", dir=self._folder, ignore_cleanup_errors=True) as folder:
            if work.mutant is not None:
                apply(work.mutant, Path(folder))
                waiting.DEADLINE_SECONDS = SEEN_SECONDS
            for n, (name, items) in enumerate(work.tests):
                following = work.tests[n + 1][1][0] if n + 1 < len(work.tests) else None
                for item, after in zip(items, [*items[1:], following], strict=True):
                    session._setupstate.teardown_exact(item)
                    item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
                    if work.mutant is not None and self._seen(work.mutant, name):
                        break
            session._setupstate.teardown_exact(None)

    def _seen(self, mutant: Mutant, test: str) -> bool:
        return any(_is_of(f.test, test) and _right(f, mutant) for f in self._failures)

    def _ended(self, work: _Work) -> None:
        failures, error = pickle.loads(work.said) if work.said else ([], "it hung, or ended without a word")  # noqa: S301
        if work.mutant is None:
            self.red += [str(f) for f in failures] + ([error] if error else [])
            return
        mutant = work.mutant
        right = [f for f in failures if _right(f, mutant)]
        outcome = Outcome(mutant.id, seconds=round(time.monotonic() - work.begun, 2))
        outcome.caught_by = [t for t in mutant.tests if any(_is_of(f.test, t) for f in right)]
        outcome.how = next((f"{f.kind}: {' '.join(f.text.split())[:200]}" for f in right), "")
        blind = [t for t in mutant.tests if t not in outcome.caught_by]
        if error:
            outcome.wrong = error
        elif blind:
            others = [str(f) for f in failures if any(_is_of(f.test, t) for t in blind)]
            outcome.wrong = others[0] if others else f"{', '.join(blind)} did not see it"
        self.outcomes.append(outcome)


def _right(f: _Failure, mutant: Mutant) -> bool:
    """Whether the rule that is missing is what failed, and not the mutant's own text."""
    as_told = f.kind == "AssertionError" if not mutant.fails else mutant.fails in f"{f.kind}: {f.text}"
    return f.when == "call" and as_told


def _kind(error: BaseException | None) -> str:
    """What a failure is. What pytest itself raises for a test (`DID NOT RAISE`) is the test's own word."""
    if isinstance(error, pytest.fail.Exception) and "Timeout" not in str(error):
        return "AssertionError"
    if isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        return _kind(error.exceptions[0])
    return type(error).__name__


def _is_of(id_: str, name: str) -> bool:
    """Whether a test is the one that is named, an example of it, or in the file or class that is."""
    return id_ == name or id_.startswith((f"{name}[", f"{name}::"))


def _likely_first(items: list[pytest.Item], mutant: Mutant) -> list[pytest.Item]:
    """The example that is called as the mutant's file comes first: it sees it, and no other has to be tried."""
    return sorted(items, key=lambda item: not item.nodeid.endswith(f"[{mutant.path.stem}]"))


def _by_name(items: Sequence[pytest.Item]) -> dict[str, list[pytest.Item]]:
    """The tests by all names that they may be asked for by, as `_is_of` has it."""
    found: dict[str, list[pytest.Item]] = {}
    for item in items:
        parts = item.nodeid.partition("[")[0].split("::")
        for name in {"::".join(parts[:n]) for n in range(1, len(parts) + 1)} | {item.nodeid}:
            found.setdefault(name, []).append(item)
    return found


def run(mutants: Sequence[Mutant], jobs: int, *, green: bool = True) -> tuple[list[Outcome], list[str]]:
    """Outcomes of the mutants in their order, and what is red without any of them."""
    tests = sorted({t for m in mutants for t in m.tests})
    with tempfile.TemporaryDirectory(prefix="qgjob-mutation-") as folder:
        plugin = Mutation(mutants, jobs, Path(folder), green=green)
        # To show the code around a failure costs several times what the test does.
        options = ["-q", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly", f"--basetemp={folder}/tests"]
        with contextlib.redirect_stdout(io.StringIO()) as said:
            code = pytest.main([*options, *tests], plugins=[plugin])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        plugin.red.append(f"the tests could not be collected; pytest said:\n{said.getvalue()}")
    order = {m.id: n for n, m in enumerate(mutants)}
    return sorted(plugin.outcomes, key=lambda o: order[o.id]), plugin.red


def as_json(outcomes: Iterable[Outcome], red: Sequence[str]) -> str:
    """The report for programs."""
    rows = [asdict(o) | {"caught": o.caught} for o in outcomes]
    return json.dumps({"mutants": rows, "red": list(red)}, indent=1, ensure_ascii=False)


def as_lines(outcomes: Iterable[Outcome], red: Sequence[str]) -> Iterator[str]:
    """The report for people."""
    for o in outcomes:
        yield f"{'caught ' if o.caught else 'ESCAPED'}  {o.id}  ({o.seconds:g} s)"
        yield f"         {o.wrong or ', '.join(o.caught_by)}"
    for line in red:
        yield f"RED without any mutant: {line}"
