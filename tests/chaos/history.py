"""What happened in a run, as data: all that the checker judges. No I/O.

All times are seconds since this machine's boot (clock.py), so that what clients, tests, programs and the store say can
be put in one order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from qgjob import Job
from tests.chaos.scale import Scale
from tests.chaos.schedule import Fault, Kind
from tests.chaos.truth import Run
from tests.chaos.workload import JobPlan, Verb
from tests.fakes.history import Transition

MOVABLE = ("coordinator", "store link")
"""Places of which there are several: what needs one goes to another."""
SUBMISSIONS = (Verb.SUBMIT, Verb.SUBMIT_MANY, Verb.REPEAT, Verb.EQUAL, Verb.SUPERSEDE, Verb.BOND)
MACHINE = "machine"
"""The place that everything needs; see machine.py."""
SHOWS = "adopt"
"""The script to which an agent that is back shows its leases."""


@dataclass(frozen=True)
class Span:
    """From `begin` to `end`."""

    begin: float
    end: float

    def meets(self, other: Span) -> bool:
        """Whether they have a time in common."""
        return self.begin <= other.end and other.begin <= self.end


@dataclass(frozen=True)
class Event(Transition):
    """One transition of a job, as the store's stream had it. `device_id` and `agent_id` where the store names them."""

    at: float
    org_id: str
    attempt: int
    device_id: str | None
    agent_id: str | None


@dataclass(frozen=True)
class Write:
    """A script changed a job's status, as the store carried it out (witness.py).

    `granted`: token of the lease that a claim gave, `epoch` and `agent_id`: the session that it was given to. `said`:
    what the call named after the job; a report, its token. `script`: the name of the script, None of one that is not as
    the product has it. `agent_id` is also the agent that shows its leases, where the script is the one for that.
    """

    at: float
    job_id: str
    version: int
    letter: str
    granted: str | None = None
    said: tuple[str, ...] = ()
    script: str | None = None
    epoch: int | None = None
    agent_id: str | None = None


@dataclass(frozen=True)
class Opened:
    """A session of an agent was opened, as the store carried it out (witness.py)."""

    at: float
    agent_id: str
    epoch: int


@dataclass
class Asked:
    """What a client asked for. `answered_at` None: it got no answer, or `error`, the stable word of a refusal.

    `proposed`: the ids that the client made for new jobs, `job_ids`: what the answer named, both in the order of
    `plans`; an equal job may stand for the one that was proposed.
    `run_id`: whose jobs are meant. `key`: under which the run supersedes. `failed_only`: of a retry of a run.
    `device_id`: what is held until `until`. `signs`: when a bound client sent what was confirmed, the submission the
    first; `silent_at`: when it sent the last one, `gone_at`: and went without a word. `released_at`: when a hold was to
    end before its time, or a bond had ended. `coordinators`: those that the client was given; `turned_to`: of these the
    ones that it asked first, from when it asked to its answer: what is sent once went to one of them. `away`: what the
    coordinator that refused said is away ("store", "agent").
    """

    verb: Verb
    org_id: str
    at: float
    plans: tuple[JobPlan, ...] = ()
    meant: str | None = None
    answered_at: float | None = None
    error: str | None = None
    message: str = ""
    proposed: tuple[str, ...] = ()
    job_ids: tuple[str, ...] = ()
    run_id: str | None = None
    key: str | None = None
    failed_only: bool = False
    device_id: str | None = None
    until: float | None = None
    released_at: float | None = None
    signs: list[float] = field(default_factory=list)
    silent_at: float | None = None
    gone_at: float | None = None
    coordinators: tuple[str, ...] = ()
    turned_to: tuple[str, ...] = ()
    away: str | None = None

    @property
    def submits(self) -> bool:
        """Whether it is about new jobs."""
        return self.verb in SUBMISSIONS

    def run_of(self, i: int) -> str | None:
        """Of a submission: the run that its job of this index was for."""
        return self.plans[i].run_id if i < len(self.plans) else self.run_id


@dataclass(frozen=True)
class Recovery:
    """A promise about time that a fault put to the test: `what` had to be so within `bound` seconds after `since`.

    `at` None: it was not so, and `until` is when the lab gave up waiting, where it waited. `needs`: the places whose
    own outages stop this clock; `anew`: and for so many seconds more after each, where who could not look counts anew.
    """

    what: str
    since: float
    at: float | None
    bound: float
    needs: tuple[str, ...] = ()
    anew: float = 0.0
    until: float | None = None


@dataclass(frozen=True)
class Done:
    """A fault as it was carried out. `note`: a figure or a circumstance worth a line in the report.

    `grown_mib`: by how much the memory of its target grew at most, where that was looked at.
    """

    fault: Fault
    span: Span
    recoveries: tuple[Recovery, ...] = ()
    note: str = ""
    grown_mib: float | None = None


@dataclass(frozen=True)
class Outage:
    """`place` ("store", a coordinator, an agent, "link AGENT") could not do its part in this time."""

    place: str
    span: Span


@dataclass(frozen=True)
class Beat:
    """A heartbeat, or a Connect, that the store has of an agent by the coordinator `place`."""

    at: float
    place: str


@dataclass(frozen=True)
class Master:
    """Of a store with Sentinels: the server of this port was seen to be it, from `since` until the next one was."""

    since: float
    port: int


@dataclass(frozen=True)
class Quarantine:
    """A device was out of service by what had failed on it, for a `reason`; `seen`: from the first look to the last."""

    device_id: str
    since: float
    until: float
    reason: str
    seen: Span


@dataclass(frozen=True)
class Cut:
    """The store went back to what it held at `back_to`: what was acknowledged from then to `at` may be gone.

    `until` is given where it is not known what it held: some moment of `back_to` to `until`. `by_another`: only what
    another server than the master took is gone.
    """

    back_to: float
    at: float
    until: float | None = None
    by_another: bool = False

    @property
    def latest(self) -> float:
        """What came after that it does not know, until `at`."""
        return self.back_to if self.until is None else self.until


@dataclass(frozen=True)
class Trouble:
    """A line of a program's log that tells of a fault of its own, or its end that nobody had asked for."""

    program: str
    at: float
    text: str


@dataclass
class History:
    """A run from its begin to the end of its last job.

    `listed`: the job ids that a list of an org named. `boot`: the wall clock at boot, for the times that jobs carry.
    `simulated`: the agents whose tests run in the agent itself, and die with it. `beats`: by agent; a poll of the store
    sees the last one only. `silent`, `died`: what excuses.py keeps of it.
    """

    seed: int
    scale: Scale
    span: Span
    asked: list[Asked] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    opened: list[Opened] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    listed: dict[str, list[str]] = field(default_factory=dict)
    boot: float = 0.0
    simulated: frozenset[str] = frozenset()
    runs: list[Run] = field(default_factory=list)
    done: list[Done] = field(default_factory=list)
    outages: list[Outage] = field(default_factory=list)
    beats: dict[str, list[Beat]] = field(default_factory=dict)
    quarantines: list[Quarantine] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    audit: list[str] = field(default_factory=list)
    silent: dict[str, list[Span]] = field(default_factory=dict, repr=False, compare=False)
    died: dict[tuple[object, ...], list[Span]] = field(default_factory=dict, repr=False, compare=False)
    _away: dict[frozenset[str], list[Span]] = field(default_factory=dict, repr=False, compare=False)

    def forget(self) -> None:
        """To be called when outages or heartbeats have changed: what was worked out from them is kept."""
        self._away.clear()
        self.silent.clear()
        self.died.clear()

    def outages_of(self, places: Iterable[str]) -> list[Span]:
        """When these places kept others from their work, with S after each for finding together again; by time.

        What needs a coordinator goes to another one: S to notice it, and S to be served there.
        """
        s, named = self.scale.session, frozenset(places)
        if named in self._away:
            return self._away[named]
        spans = []
        for place, span in ((o.place, o.span) for o in self.outages if o.place in named):
            end = min(span.end, span.begin + s) if place.startswith(MOVABLE) else span.end
            spans.append(Span(span.begin, end if place == MACHINE else end + s))
        self._away[named] = joined(spans)
        return self._away[named]

    def done_of(self, *kinds: Kind) -> list[Done]:
        """The faults of these kinds."""
        return [done for done in self.done if done.fault.kind in kinds]


def joined(spans: Iterable[Span], gap: float = 0.0) -> list[Span]:
    """The spans by time, those that are no further apart than `gap` made one."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda s: s.begin):
        if found and span.begin <= found[-1].end + gap:
            found[-1] = Span(found[-1].begin, max(found[-1].end, span.end))
        else:
            found.append(span)
    return found


def overlap(span: Span, others: Sequence[Span]) -> float:
    """How many seconds of `span` lie in `others`, which are in order and do not meet each other."""
    total, i = 0.0, bisect_left(others, span.begin, key=lambda o: o.end)
    while i < len(others) and others[i].begin < span.end:
        total += max(0.0, min(span.end, others[i].end) - max(span.begin, others[i].begin))
        i += 1
    return total
