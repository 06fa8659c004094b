"""What the command itself finds: the address, the answer, versions, clocks, whether the coordinators share a store."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from qgjob._diagnosis import Diagnosis, Finding
from qgjob._enums import FindingLevel
from qgjob._errors import DeadlineError, QgjobError, UnsupportedError
from qgjob._fleet import Health
from qgjob._reach import Peer, Reach
from qgjob._shape import Shape

OK, NOTE, WARNING, PROBLEM = FindingLevel
_ORDER = (OK, NOTE, WARNING, PROBLEM)
_OWN = ("agents.refused", "agents.sessions")
"""What a coordinator says of itself alone, as all of `coordinator.*`: two that have it are two findings."""
CLOCK_NOTE_SECONDS = 2.0
CLOCK_WARNING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Told(Shape):
    """A finding, and at which of the client's addresses it was made; None: of the client, or of all of them."""

    check: str
    level: FindingLevel
    subject: str | None
    coordinator: str | None
    found: str
    advice: str | None


@dataclass(frozen=True, slots=True)
class Visit:
    """What came of one address: `answer`, or `error`. `health` is that of a coordinator that knows no diagnosis.

    It was asked at `asked_at`, by the clock of this machine, and answered at `answered_at`.
    """

    address: str
    reach: Reach
    asked_at: datetime
    answered_at: datetime
    answer: Diagnosis | None = None
    error: QgjobError | None = None
    health: Health | None = None


def judge(visits: Sequence[Visit], origin: str, version: str) -> list[Told]:
    """All findings, the worst first. `origin` is where the addresses were set, `version` this program's."""
    found = [_settings(visits, origin)]
    answered = [visit for visit in visits if visit.answer is not None]
    for visit in visits:
        found += _address(visit, origin, alone=not answered)
        if visit.answer is not None:
            found += [_version(visit, visit.answer, version), _clock(visit, visit.answer)]
    if len(answered) > 1:
        found.append(_stores(answered))
    found += _merged(answered)
    return worst_first(found)


def worst_first(found: Sequence[Told]) -> list[Told]:
    """The same, those of a level in the order in which they were found."""
    return sorted(found, key=lambda each: -_ORDER.index(each.level))


def worst(found: Sequence[Told]) -> FindingLevel:
    """The level of the worst; ok of none."""
    return max((each.level for each in found), key=_ORDER.index, default=OK)


def _settings(visits: Sequence[Visit], origin: str) -> Told:
    addresses = ", ".join(visit.address for visit in visits)
    return Told("client.settings", OK, None, None, f"coordinator is {addresses} (from {origin})", None)


def _address(visit: Visit, origin: str, *, alone: bool) -> list[Told]:
    """How far the way to a coordinator goes. What others answer for is only a warning."""
    check, bad = "client.address", PROBLEM if alone else WARNING
    words = _unreached(visit.reach, visit.address, origin)
    if words is not None:
        return [Told(check, bad, None, visit.address, *words)]
    found = [
        Told(check, OK, None, visit.address, f"{visit.reach.where} answers in {visit.reach.connect_ms:.1f} ms", None)
    ]
    if visit.error is None:
        return found
    error = visit.error
    if isinstance(error, UnsupportedError):
        serves = "" if visit.health is None else f"; its health is {visit.health.status}"
        why = "" if visit.health is None or visit.health.reason is None else f" ({visit.health.reason})"
        level = bad if visit.health is not None and not visit.health.serving else WARNING
        text = f"it is older than this program and knows no diagnosis{serves}{why}"
        return [
            *found,
            Told("client.answer", level, None, visit.address, text, "update it, or ask with its own program"),
        ]
    advice = "its log and its /health/detailed say more"
    if isinstance(error, DeadlineError):
        advice = "it hangs, or its machine is overloaded: look at its log and at the load there"
    return [*found, Told("client.answer", bad, None, visit.address, error.message, advice)]


def _unreached(reach: Reach, address: str, origin: str) -> tuple[str, str] | None:
    """Why there is no coordinator at an address, and what to do; None: there may be one."""
    detail = f" ({reach.detail})" if reach.detail else ""
    port = f"name the coordinator's gRPC port (50051 by default); the address is from {origin}"
    match reach.peer:
        case Peer.UNRESOLVED:
            name = address.rpartition(":")[0]
            return f"the name {name} does not resolve{detail}", f"mend it in {origin}, or the DNS of this machine"
        case Peer.REFUSED:
            return (
                f"nothing listens at {reach.where}: the connection is refused",
                f"start one there (`qgjob up`; `qgjob coordinator` for one alone), its log says why it ends; or {port}",
            )
        case Peer.TIMEOUT:
            return (
                f"{reach.where} does not take a connection in time",
                "see whether that host is up, and whether a firewall lets the port through",
            )
        case Peer.UNREACHABLE:
            return f"there is no way to {reach.where}{detail}", "look at the network between here and there"
        case Peer.SILENT:
            return (
                f"{reach.where} takes the connection and says nothing",
                "if it is the coordinator, it hangs or was stopped: look at its process and log, start it again; else "
                + port,
            )
        case Peer.HTTP1:
            return f"{reach.where} speaks HTTP/1: it is the port of REST (3000 by default), or of something else", port
        case Peer.TLS:
            return f"{reach.where} speaks TLS, which a coordinator does not", port
        case Peer.OTHER:
            return f"what listens at {reach.where} does not speak gRPC{detail}", port
        case Peer.HTTP2:
            return None


_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


def _numbers(version: str) -> tuple[int, ...] | None:
    match = _NUMBERS.match(version)
    return None if match is None else tuple(int(each or 0) for each in match.groups())


def _version(visit: Visit, answer: Diagnosis, version: str) -> Told:
    check = "client.version"
    if answer.version == version:
        return Told(check, OK, None, visit.address, f"this program and the coordinator are both {version}", None)
    text = f"this program is {version}, the coordinator {answer.version}"
    ours, theirs = _numbers(version), _numbers(answer.version)
    if ours is not None and theirs is not None and ours > theirs:
        advice = "update the coordinators first: what this program asks for and they don't know is refused"
        return Told(check, WARNING, None, visit.address, text, advice)
    return Told(check, NOTE, None, visit.address, text, "update this program when it suits")


def _clock(visit: Visit, answer: Diagnosis) -> Told:
    check = "client.clock"
    if answer.timestamp is None:
        return Told(check, NOTE, None, visit.address, "the coordinator does not tell its time", None)
    # It was told somewhere between the question and the answer.
    behind = (visit.asked_at - answer.timestamp).total_seconds()
    ahead = (answer.timestamp - visit.answered_at).total_seconds()
    off = max(behind, ahead)
    if off <= CLOCK_NOTE_SECONDS:
        return Told(check, OK, None, visit.address, "this machine and the coordinator agree on the time", None)
    text = f"the coordinator's clock is {off:.0f} s {'ahead of' if ahead > behind else 'behind'} this machine's"
    advice = "synchronise the clocks (NTP): `--for`, `--until` and all times that are told go by them"
    return Told(check, WARNING if off > CLOCK_WARNING_SECONDS else NOTE, None, visit.address, text, advice)


def one_store(visits: Sequence[Visit]) -> bool:
    """Whether no two coordinators name different stores, or different lives of one."""
    return len({v.answer.store_epoch for v in visits if v.answer is not None and v.answer.store_epoch}) <= 1


def _stores(answered: Sequence[Visit]) -> Told:
    check = "client.stores"
    if not one_store(answered):
        text = "the coordinators use different stores: a job of one is not found at another"
        return Told(check, PROBLEM, None, None, text, "give all of them one REDIS_URL, or name only those of one lab")
    return Told(check, OK, None, None, f"{len(answered)} coordinators answer, and none uses another store", None)


_Kinds = dict[tuple[str, str | None, FindingLevel, str | None, str | None], list[Told]]


def _merged(answered: Sequence[Visit]) -> list[Told]:
    """What the coordinators found; what several say alike of what they share is told once.

    Numbers move between two answers, so as many as one coordinator has of one kind stand for those of the others; none
    stands for another of the same coordinator.
    """
    told: _Kinds = {}
    for visit in answered:
        for key, found in _kinds(visit).items():
            known = told.setdefault(key, [])
            texts = {each.found for each in known}
            new = [each for each in found if each.found not in texts]
            stood_for = max(len(known) - (len(found) - len(new)), 0)
            known += new[stood_for:]
    return [each for found in told.values() for each in found]


def _kinds(visit: Visit) -> _Kinds:
    """The findings of one coordinator by all that is the same in each coordinator's."""
    kinds: _Kinds = {}
    for each in visit.answer.findings if visit.answer is not None else ():
        own = each.check in _OWN or each.check.startswith("coordinator.")
        key = (each.check, each.subject, each.level, each.advice, visit.address if own else None)
        kinds.setdefault(key, []).append(_of(each, visit.address))
    return kinds


def _of(each: Finding, address: str) -> Told:
    return Told(each.check, each.level, each.subject, address, each.found, each.advice)
