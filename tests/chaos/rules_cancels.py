"""The rule that no job is cancelled which nobody wanted to be, by whatever way it can be wanted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from tests.chaos.history import Asked, History
from tests.chaos.rules_asked import WRITTEN_SECONDS, equal_jobs, late_answer, named
from tests.chaos.rules_jobs import by_job
from tests.chaos.rules_wishes import away, may_have_ended_its_bond, may_have_taken_its_key, silent
from tests.chaos.violations import Violation
from tests.chaos.workload import Verb


def a_cancel_was_asked_for(h: History) -> Iterator[Violation]:
    """P2: a job becomes cancelled while a client asks for that, for its run's end, or for a run in its place."""
    wishes = _Wishes(h)
    for job_id, events in by_job(h).items():
        job = h.jobs.get(job_id)
        runs = [] if job is None else [(job.org_id, run_id) for run_id in job.run_ids]
        for event in events:
            if event.letter == "x" and event.outcome is not None and not wishes.explain(job_id, runs, event.at):
                text = f"P2: {job_id} is cancelled, and nobody asked for that"
                yield Violation("a_cancel_was_asked_for", text, job_id, event.device_id, event.at)


class _Wishes:
    """What clients wanted to be cancelled, by job, by run, and by key."""

    def __init__(self, h: History) -> None:
        self._h, self._away, self._silent = h, away(h), silent(h)
        self._cancels: dict[object, list[Asked]] = defaultdict(list)
        self._keys: dict[object, list[Asked]] = defaultdict(list)
        self._runs: dict[object, Asked] = {}
        equals, members = equal_jobs(h), _members(h)
        for asked in h.asked:
            if asked.verb in (Verb.CANCEL, Verb.CANCEL_RUN):
                for name in _means(asked, equals, members):
                    self._cancels[name].append(asked)
            elif asked.verb in (Verb.SUPERSEDE, Verb.BOND):
                self._runs[asked.org_id, asked.run_id] = asked
                self._keys[asked.org_id, asked.key].append(asked)

    def explain(self, job_id: str, runs: Sequence[tuple[str, str]], at: float) -> bool:
        """Whether the job of these runs may have been cancelled then."""
        if any(self._asked_for(asked, at) for name in (job_id, *runs) for asked in self._cancels[name]):
            return True
        return any(self._ended(self._runs[run], at) for run in runs if run in self._runs)

    def _asked_for(self, asked: Asked, at: float) -> bool:
        return asked.at - WRITTEN_SECONDS <= at <= late_answer(self._h, asked) + WRITTEN_SECONDS

    def _ended(self, asked: Asked, at: float) -> bool:
        if asked.verb is Verb.BOND:
            return may_have_ended_its_bond(self._h, asked, at, self._silent)
        others = [other for other in self._keys[asked.org_id, asked.key] if other is not asked]
        return any(may_have_taken_its_key(self._h, other, asked, at, self._away) for other in reversed(others))


def _means(asked: Asked, equals: Mapping[str, set[str]], members: Mapping[object, set[str]]) -> set[object]:
    """What a cancel is about: without an answer, any job that the id may stand for; a run, and jobs that are in it."""
    run = (asked.org_id, asked.run_id)
    if asked.meant is None:
        return {run, *(set(asked.job_ids) & members.get(run, set()))}
    if asked.answered_at is None or asked.error is not None:
        return {asked.meant, *equals.get(asked.meant, ())}
    return {asked.meant, *named(asked, Verb.CANCEL, equals)}


def _members(h: History) -> dict[object, set[str]]:
    """The jobs of each run by what clients submitted: a record tells of those that the store has at the end."""
    found: dict[object, set[str]] = defaultdict(set)
    for asked in h.asked:
        if asked.submits:
            for job_ids in (asked.proposed, asked.job_ids):
                for i, job_id in enumerate(job_ids):
                    found[asked.org_id, asked.run_of(i)].add(job_id)
    return found
