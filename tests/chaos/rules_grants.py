"""Rules about leases: what a job becomes by a report, it becomes by a report of the lease that was granted last."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.cuts import forgotten
from tests.chaos.history import SHOWS, Event, History, Write
from tests.chaos.rules_jobs import by_job
from tests.chaos.violations import Violation

UNREPORTED = ("agent_lost", "expired", "cancelled")
"""Outcomes that a job may get without a report of its lease."""


def the_last_grant_decides(h: History) -> Iterator[Violation]:
    """P3: attempt, device and agent of a verdict are those of the lease that was granted last."""
    for job_id, events in by_job(h).items():
        granted: tuple[int, str | None, str | None] | None = None
        for event in events:
            if event.letter == "s" and event.device_id is not None:
                granted = (event.attempt, event.device_id, event.agent_id)
            elif event.outcome is not None and event.letter in "cf" and event.device_id is not None:
                decided = (event.attempt, event.device_id, event.agent_id)
                if decided != granted:
                    text = f"P3: the verdict of {job_id} is by {decided}, and {granted} was granted last"
                    yield Violation("the_last_grant_decides", text, job_id, event.device_id, event.at)


def reports_carry_the_last_token(h: History) -> Iterator[Violation]:
    """P3: no report of an older lease changes a job, and a verdict by a test is by a report of the last one.

    An agent that is back shows all the leases that it has, older ones too: what it holds and does not show is given up.
    """
    writes = _writes(h)
    for job_id, events in by_job(h).items():
        tokens: list[str | None] = []
        holder: str | None = None
        for event in events:
            write = writes.get((job_id, event.version))
            if event.letter == "s":
                tokens.append(_granted(write))
                holder = None if write is None else write.agent_id
            elif write is not None and tokens and tokens[-1] is not None and _is_stale(event, write, tokens, holder):
                by = ", ".join(token for token in write.said if token in tokens) or "no lease"
                text = (
                    f"P3: {job_id} became {event.letter} in version {event.version} by {by}, {tokens[-1]} was the last"
                )
                yield Violation("reports_carry_the_last_token", text, job_id, event.device_id, event.at)


def by_token(h: History) -> tuple[int, int]:
    """Of how many verdicts by a test both tokens were seen, and how many of those verdicts there are."""
    writes, judged, verdicts = _writes(h), 0, 0
    for job_id, events in by_job(h).items():
        last = None
        for event in events:
            write = writes.get((job_id, event.version))
            if event.letter == "s":
                last = _granted(write)
            elif _by_a_test(event):
                verdicts += 1
                judged += write is not None and last is not None
    return judged, verdicts


def _writes(h: History) -> dict[tuple[str, int], Write]:
    """By job and version; without those that the store forgot when it went back, whose versions came again."""
    return {
        (write.job_id, write.version): write for write in sorted(h.writes, key=lambda w: w.at)
        if not forgotten(h, write.at)
    }  # fmt: skip


def _granted(write: Write | None) -> str | None:
    """The token of a lease; None where the grant was not seen, and nothing is known of what came after it."""
    return None if write is None else write.granted


def _is_stale(event: Event, write: Write, tokens: list[str | None], holder: str | None) -> bool:
    """`holder`: the agent that has the last lease; only its own showing may end that without a word of it."""
    if tokens[-1] in write.said:
        return False
    shown = write.script == SHOWS and write.agent_id == holder
    return _by_a_test(event) or (not shown and any(token in write.said for token in tokens))


def _by_a_test(event: Event) -> bool:
    return event.letter in "cf" and event.outcome is not None and event.outcome not in UNREPORTED
