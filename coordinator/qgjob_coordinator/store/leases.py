"""Leases: granted, started, ended, adopted, swept."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import islice

from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome
from qgjob_coordinator.model.failures import AVOIDED_DEVICES, POISON_AGENTS, POISON_MESSAGE
from qgjob_coordinator.model.jobs import JobError
from qgjob_coordinator.policy.estimates.measurement import measures, reported_ms, skipped
from qgjob_coordinator.policy.retry import RetryRules
from qgjob_coordinator.store import builds, codec, keys, names
from qgjob_coordinator.store.scripts import Arg, ScriptRunner, Step
from qgjob_coordinator.store.settled import parse
from qgjob_coordinator.store.types.claims import Claimed, ClaimWord, DeviceClaim, Grant
from qgjob_coordinator.store.types.endings import Ended, Ending, Release, ReportWord, Settled
from qgjob_coordinator.store.types.sessions import ShownWord

_REPORT = {w.value: w for w in ReportWord}
_OUTCOME = {o.value: o for o in Outcome}
_CHARGE = {None: "P", Charge.TEST: "T", Charge.INFRASTRUCTURE: "I", Charge.NOBODY: "N", Charge.FINAL: "F"}

HOLDERS_AT_ONCE = 256
"""Of all agents that ever claimed in an org, so many are looked at by one call."""


class LeaseStore:
    """The life of leases within one org."""

    def __init__(self, runner: ScriptRunner, rules: RetryRules) -> None:
        self._runner = runner
        # base and cap of the backoff (ms), infra retries, devices to avoid, agents that make a job poison, and the line
        # (JSON without the round and brace) that such a job keeps, %s for its agents
        self._retry: list[Arg] = [
            rules.base_ms,
            rules.cap_ms,
            rules.infra_max,
            AVOIDED_DEVICES,
            POISON_AGENTS,
            codec.encode_error(JobError(ErrorClass.POISON, POISON_MESSAGE.format(agents="%s"))),
        ]

    async def holders(self, org_id: str, cursor: str) -> tuple[str, dict[str, int]]:
        """Where to go on ("0": at an end), and for some agents with leases an epoch that none of these is above."""
        after, *flat = await self._runner.run("holders", keys.org(org_id), [cursor, HOLDERS_AT_ONCE])
        return str(after), {str(flat[i]): int(flat[i + 1]) for i in range(0, len(flat), 2)}

    async def claim(
        self, org_id: str, claims: Sequence[DeviceClaim], now: int, quota: int | None, cap: int | None
    ) -> list[Claimed]:
        """Commits what a plan chose, where nothing has changed since. The same token again is granted again.

        An org holds at most `quota` attempts, and at most `cap` devices serve a group; None: any number.
        """
        args: list[Arg] = [now, -1 if quota is None else quota, -1 if cap is None else cap]
        for c in claims:
            serving = -1 if c.serving_seen is None else c.serving_seen
            args += (c.agent_id, c.epoch, c.device_id, c.gid, serving, c.build, len(c.jobs))
            for job in c.jobs:
                args += job
        ulids = [ulid for c in claims for ulid, _token in c.jobs]
        prefix = keys.org(org_id)
        steps = [Step("claim", prefix, args)]
        if ulids:
            # The texts come beside the script, since through Lua each would be copied and hashed on its way; and before
            # it, since what it grants was there.
            steps.insert(0, Step(None, "", ["MGET", *(f"{prefix}d:{ulid}" for ulid in ulids)]))
        *read, reply = await self._runner.batch(steps)
        texts = iter(read[0] if read else ())
        answers = []
        at = 0
        for c in claims:
            word = ClaimWord(reply[at])
            at += 1
            floor, build = 0, None
            if word is ClaimWord.STALE:
                floor = reply[at]
                at += 1
            elif word is ClaimWord.OK:
                build = builds.named(org_id, c.build, reply[at]) if reply[at] else None
                at += 1
            grants = []
            over = 0
            target = names.LETTER_TARGET[c.gid[0]].value
            for (ulid, token), text in zip(c.jobs, islice(texts, len(c.jobs)), strict=True):
                if word is not ClaimWord.OK:
                    continue
                attempt = reply[at]
                if attempt > 0:
                    spec = codec.decode_spec(text.partition("\n")[0])
                    spec["g"] = target  # the one of its group, which need not be the one that was asked for
                    grants.append(
                        Grant(ulid, token, attempt, reply[at + 1], codec.created_at(int(reply[at + 2])), spec)
                    )
                elif attempt < 0:
                    over += 1
                at += 3
            answers.append(Claimed(word, tuple(grants), over, floor, build))
        return answers

    async def report(
        self, org_id: str, started: Sequence[tuple[str, str, int]], endings: Sequence[Ending], now: int
    ) -> tuple[list[ReportWord], list[Ended]]:
        """Starts as (ulid, token, started at) and then endings, in one round trip."""
        steps = []
        if started:
            args: list[Arg] = [now]
            for row in started:
                args += row
            steps.append(Step("start", keys.org(org_id), args))
        if endings:
            steps.append(Step("finish", keys.org(org_id), self._finish_args(endings, now)))
        replies = await self._runner.batch(steps)
        words = [_REPORT[w] for w in replies[0]] if started else []
        return words, _endings(replies[-1]) if endings else []

    async def start(self, org_id: str, started: Sequence[tuple[str, str, int]], now: int) -> list[ReportWord]:
        """(ulid, token, started at) triples: the attempts run."""
        return (await self.report(org_id, started, (), now))[0]

    async def finish(self, org_id: str, endings: Sequence[Ending], now: int) -> list[Ended]:
        """Attempts ended with an outcome of their own: a verdict, or a retry within its budget."""
        return (await self.report(org_id, (), endings, now))[1]

    def _finish_args(self, endings: Sequence[Ending], now: int) -> list[Arg]:
        args: list[Arg] = [now, *self._retry]
        for e in endings:
            args += (
                e.ulid,
                e.token,
                _CHARGE[e.charge]
                + ("l" if e.has_log else "")
                + ("i" if e.install_ms is not None else "")
                + ("s" if e.with_start else "")
                + ("a" if e.elsewhere else "")
                + ("h" if e.host_unfit else ""),
                e.started_at,
                e.ended_at,
                _learned(e),
                codec.encode_measured(e.duration_ms, e.install_ms, e.result),
                f"{e.outcome.value} {e.share} {codec.encode_pair(e.error)}" if e.charge else "",
            )
        return args

    async def release(
        self, org_id: str, releases: Sequence[Release], now: int
    ) -> tuple[list[ReportWord], list[Settled | None]]:
        """Leases end without an outcome: given back, killed, or revoked and dead. A word each, and what was done."""
        args: list[Arg] = [now, *self._retry]
        for r in releases:
            args += (r.ulid, r.token, r.ended_at, r.charge.value, r.share, _lost_record(r.message))
        reply = await self._runner.run("release", keys.org(org_id), args)
        return [ReportWord(w) for w in reply[::2]], [parse(line) if line else None for line in reply[1::2]]

    async def adopt(
        self,
        org_id: str,
        agent_id: str,
        epoch: int,
        shown: Sequence[tuple[str, str]],
        now: int,
        share: float,
        came_back_below: int = 0,
    ) -> tuple[list[Settled], list[ShownWord]]:
        """A new session takes over what it shows and releases what it doesn't; what that did, a word for each shown.

        What it doesn't show of sessions below `came_back_below` (see Opened) is not charged as the loss of its agent.
        """
        lost = _lost_record(f"agent {agent_id} came back without this attempt")
        over = _lost_record(f"agent {agent_id} was done with this attempt: the store went back to an older state")
        args: list[Arg] = [now, *self._retry, agent_id, epoch, share, lost, came_back_below, over]
        for pair in shown:
            args += pair
        released, *words = await self._runner.run("adopt", keys.org(org_id), args)
        return _by_ulid(released), [ShownWord(w) for w in words]

    async def sweep(self, org_id: str, agent_id: str, epoch: int, now: int, share: float) -> list[Settled]:
        """Releases all leases of a closed session (and of older ones); what that did."""
        lost = _lost_record(f"agent {agent_id} was lost")
        args: list[Arg] = [now, *self._retry, agent_id, epoch, share, lost]
        return _by_ulid(await self._runner.run("sweep", keys.org(org_id), args))

    async def progress(self, org_id: str, rows: Sequence[tuple[str, str, int]], now: int) -> None:
        """(ulid, token, percent) triples; what is stale is dropped."""
        args: list[Arg] = [now]
        for row in rows:
            args += row
        await self._runner.run("progress", keys.org(org_id), args)


def _learned(e: Ending) -> str:
    """What an attempt tells of its test: p or f for passed or failed, then the duration where it measured one.

    Empty when it tells nothing: the failure was not the test's, or nothing of it was carried out.
    """
    if e.charge not in (None, Charge.TEST) or skipped(e.result):
        return ""
    ms = reported_ms(e.duration_ms) if measures(e.outcome, e.result) else None
    return ("p" if e.charge is None else "f") + ("" if ms is None else str(ms))


def _by_ulid(lines: Sequence[str]) -> list[Settled]:
    return [parse(line) for line in sorted(lines)]


@lru_cache(maxsize=64)  # most ends are alike
def _ended(word: str, state: str, did: str) -> Ended:
    return Ended(
        _REPORT[word],
        codec.LETTER_STATUS.get(state[:1]),
        int(did) if did.isdigit() else None,
        _OUTCOME.get(did),
        names.LETTER_TARGET.get(state[1:]),
        parse(did) if did and word == ReportWord.STALE else None,
    )


def _endings(reply: list[str]) -> list[Ended]:
    return list(map(_ended, reply[::3], reply[1::3], reply[2::3]))


def _lost_record(message: str) -> str:
    error = JobError(ErrorClass.INFRASTRUCTURE, message)
    return f'"{Outcome.AGENT_LOST.value}",{codec.encode_measured(None, None, None)},{codec.encode_pair(error)}'
