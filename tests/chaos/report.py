"""What a run says of itself: figures, and the story of what went wrong. Pure, but for the words of the machine."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.chaos.history import MACHINE, History, Recovery
from tests.chaos.recovered import by_the_clock, rows
from tests.chaos.rules_grants import by_token
from tests.chaos.rules_jobs import lost_to_cuts
from tests.chaos.rules_times import judged, taken
from tests.chaos.schedule import Form
from tests.chaos.told import Told, told
from tests.chaos.violations import Violation

HEAD = (
    f"{'after':<18} {'what':<52} {'count':>5} {'by the clock':>12} {'judged':>6} "
    f"{'p50 s':>6} {'max s':>6} {'bound s':>7} {'over':>4} {'by s':>5} {'max by clock':>12}"
)
COMMAND = "python -m tests.chaos --seed {seed} --stores {form} --minutes {minutes:g} --scale {scale:g}"


@dataclass
class Report:
    """Of one run. `left_out`: the kinds that this machine can't have, and why."""

    history: History
    violations: list[Violation]
    left_out: dict[str, str]
    minutes: float
    form: Form = Form.ONE
    rests: float = 1.0

    def figures(self) -> dict[str, Any]:
        """All as JSON."""
        h = self.history
        accepted = {i for a in h.asked if a.submits and a.error is None for i in a.job_ids}
        return {
            "seed": h.seed,
            "minutes": self.minutes,
            "scale": h.scale.factor,
            "session_seconds": h.scale.session,
            "lease_seconds": h.scale.lease,
            "store": self.form.value,
            "command": self.command(),
            "seconds": round(h.span.end - h.span.begin, 1),
            "seconds_without_machine": round(self.slow(), 1),
            "faults": len(h.done),
            "faults_by_kind": dict(sorted(Counter(d.fault.kind.value for d in h.done).items())),
            "left_out": self.left_out,
            "jobs": len(h.jobs),
            "jobs_acknowledged": len(accepted),
            "outcomes": dict(sorted(Counter(str(j.outcome) for j in h.jobs.values()).items())),
            "attempts": sum(len(j.attempts) for j in h.jobs.values()),
            "attempts_lost": sum(a.outcome == "agent_lost" for j in h.jobs.values() for a in j.attempts),
            "tests_that_ran": len(h.runs),
            "asked": dict(sorted(Counter(a.verb.value for a in h.asked).items())),
            "refused": dict(sorted(Counter(a.error for a in h.asked if a.error is not None).items())),
            "lost_to_cuts": len(lost_to_cuts(h)),
            "verdicts_by_token": dict(zip(("judged", "of"), by_token(h), strict=True)),
            "slow_watcher_mib_max": self.growth(),
            "recoveries": self.recoveries(),
            "violations": [each.figures(h.span.begin) for each in self.told()],
        }

    def command(self) -> str:
        """What repeats its seed."""
        h = self.history
        rests = "" if self.rests == 1.0 else f" --rests {self.rests:g}"
        return COMMAND.format(seed=h.seed, form=self.form, minutes=self.minutes, scale=h.scale.factor) + rests

    def told(self) -> list[Told]:
        """Each violation once."""
        return told(self.violations)

    def slow(self) -> float:
        """Seconds in which others had the machine."""
        return sum(o.span.end - o.span.begin for o in self.history.outages if o.place == MACHINE)

    def growth(self) -> float | None:
        """MiB by which a coordinator with slow watchers grew at most."""
        grown = [done.grown_mib for done in self.history.done if done.grown_mib is not None]
        return max((round(mib, 1) for mib in grown), default=None)

    def recoveries(self) -> list[dict[str, Any]]:
        """Each kind of recovery: how many, median and longest seconds, and the bound.

        Seconds are less the outages of what it needs, as the bound is checked; `max_by_the_clock` is with them.
        `in_time_by_the_clock`: how many needed no excuse; `judged`: of how many all of the time was counted, or as much
        as the bound; `over_the_bound`: how many needed some of what a busy machine may add, and
        `most_over_seconds` how much at most; `not_seen`: how many were not so when the lab gave up waiting.
        """
        found = rows(self.history).items()
        return [{"after": after, "what": what, **self._row(some)} for (after, what), some in found]

    def _row(self, found: list[Recovery]) -> dict[str, Any]:
        """Of one thing that was to be so after one kind of fault."""
        h, bound = self.history, found[-1].bound
        seconds = [(taken(h, r), by_the_clock(r)) for r in found]
        return {
            "count": len(found),
            "judged": sum(judged(h, r) for r in found),
            "p50_seconds": round(median(net for net, _ in seconds), 2),
            "max_seconds": round(max(net for net, _ in seconds), 2),
            "max_by_the_clock": round(max(gross for _, gross in seconds), 2),
            "bound_seconds": round(bound, 2),
            "over_the_bound": sum(net > bound for net, _ in seconds),
            "most_over_seconds": round(max(0.0, *(net - bound for net, _ in seconds)), 2),
            "not_seen": sum(r.at is None for r in found),
            "in_time_by_the_clock": sum(gross <= bound for _, gross in seconds),
        }

    def each(self) -> list[str]:
        """A line for each fault."""
        h = self.history
        return [
            "  ".join([f"{d.span.begin - h.span.begin:7.2f} to {d.span.end - h.span.begin:7.2f}  {d.fault}", d.note])
            + "".join(f"; {r.what} {taken(h, r):.2f} of {by_the_clock(r):.2f} s" for r in d.recoveries)
            for d in sorted(h.done, key=lambda d: d.span.begin)
        ]

    def text(self) -> str:
        """For people: figures, then violations."""
        f = self.figures()
        lines = [
            f"seed {f['seed']}, store: {f['store']}, {f['seconds']:g} s",
            f"S = {f['session_seconds']:g} s, A = {f['lease_seconds']:g} s",
            f"{f['faults']} faults, {f['jobs']} jobs, {f['attempts']} attempts ({f['attempts_lost']} lost)",
            f"others had the machine for {f['seconds_without_machine']:g} s",
            f"{f['tests_that_ran']} shell tests ran, {f['lost_to_cuts']} jobs were lost when the store went back",
            "faults     " + ", ".join(f"{k} {n}" for k, n in f["faults_by_kind"].items()),
            *(f"left out   {kind}: {why}" for kind, why in f["left_out"].items()),
            "outcomes   " + ", ".join(f"{k} {n}" for k, n in f["outcomes"].items()),
            "refused    " + (", ".join(f"{k} {n}" for k, n in f["refused"].items()) or "nothing"),
            "",
            HEAD,
        ]
        lines += [
            f"{r['after']:<18} {r['what']:<52} {r['count']:>5} {r['in_time_by_the_clock']:>12} {r['judged']:>6} "
            f"{r['p50_seconds']:>6.2f} {r['max_seconds']:>6.2f} {r['bound_seconds']:>7.2f} "
            f"{r['over_the_bound']:>4} {r['most_over_seconds']:>5.2f} {r['max_by_the_clock']:>12.2f}"
            for r in f["recoveries"]
        ]
        found, count = self.told(), len(self.violations)
        lines += ["", *(each.line() for each in found)]
        different = "" if count == len(found) else f", {len(found)} different ones"
        lines += [f"{count} violations{different}" if count else "every promise was kept"]
        return "\n".join(lines)
