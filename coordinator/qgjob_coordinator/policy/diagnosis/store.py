"""Whether the store can be used, how fast it answers, and whether its program is one to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.policy.diagnosis import rights
from qgjob_coordinator.policy.diagnosis.facts import StoreFacts
from qgjob_coordinator.policy.diagnosis.words import count, dotted, fine, ms, note, problem, told, warning
from qgjob_coordinator.policy.reasons.words import span

OLDEST = (6, 2)
SLOW_PING_MS = 50.0
BUSY_PING_MS = 5.0
YOUNG_SECONDS = 600
MANY_CLIENTS = 0.8
SLOW_CALL_MS = 250.0
SLOW_CALLS_SECONDS = 3600.0
CLOCK_NOTE_MS = 1_000.0
CLOCK_WARNING_MS = 5_000.0
_UPDATE = "update it when it suits; a package of a distribution may have the mend under its old number"

# CVE-2025-49844: who may run a script can run anything. By server and line, the first release without it; what is
# before the first line has no mend, what is after the last one never had it.
_LUA_MENDED = {
    "redis": ((6, 2, 20), (7, 2, 11), (7, 4, 6), (8, 0, 4), (8, 2, 2)),
    "valkey": ((7, 2, 11), (8, 0, 6), (8, 1, 4)),
}

_ROOM = "raise the store's maxmemory, or keep finished jobs for a shorter time (RETENTION_DAYS)"
_CLUSTER = "start the master that is away: redis-cli --cluster check HOST:PORT names what is not served"
_TO_DO = (
    ("lacks rights", rights.TO_DO),
    ("BusyLoadingError", "wait: the store reads its log after a start"),
    ("ReadOnlyError", "it is a replica: point REDIS_URL at the primary"),
    ("MISCONF", "make room on the store's disk; its log says what it could not write"),
    ("NOREPLICAS", "start a replica that keeps up: the store's min-replicas-to-write asks for it"),
    ("slot moves", "wait; if the move was broken off, run redis-cli --cluster fix HOST:PORT"),
    ("has no master", _CLUSTER),
    ("luster is down", _CLUSTER),
    ("lot not served", _CLUSTER),
    ("node of the Cluster answers", "start the nodes of the Cluster, or mend their addresses in REDIS_URL"),
    (
        "no Sentinel answers",
        "start the Sentinels, or mend addresses, group's name or sentinel_password in REDIS_URL",
    ),
    (
        "named by the Sentinels",
        "wait for a failover; if none comes, see SENTINEL CKQUORUM of one of them",
    ),
    ("name not known", "mend the host in REDIS_URL, or the name service of the coordinator's machine"),
    ("no connection in time", "look at the store's machine and the way to it; rediss:// needs a store that speaks TLS"),
    ("no TLS connection", "with rediss:// the store has to speak TLS; without TLS it is redis://"),
    (
        "certificate is not trusted",
        "name its authority by ssl_ca_certs in REDIS_URL, and the host as the certificate does",
    ),
    ("no answer in time", "look at the store's machine: it hangs or is overloaded"),
    ("needs a password", "put it into REDIS_URL, as in redis://:PASSWORD@HOST:PORT"),
    ("credentials", "mend the user and the password in REDIS_URL"),
    (
        "is brought to",
        "wait: a coordinator brings it along; see store_migrating and store_migrated in the logs",
    ),
    ("memory is full", _ROOM),
    ("no more connections", "raise its maxclients, or end what has them: CLIENT LIST shows who that is"),
    ("maxmemory-policy", "run CONFIG SET maxmemory-policy noeviction, and set the same in its config file"),
    ("schema", "start the version of qgjob that wrote it, or point REDIS_URL at the right store"),
    ("needs 6.2", "update the store"),
    ("did not answer", "look at the store's machine: it hangs or is overloaded"),
)
_START = "start the store, or mend REDIS_URL; the coordinator keeps trying by itself"


def usable(fault: str | None, away: Mapping[str, str], address: str, schema: int) -> list[Finding]:
    """Whether the store answers, takes writes and has the right schema; `fault` is the coordinator's own word.

    `away` are servers that did not answer, with why: where they are, each is told, and not that the whole is away.
    """
    check = "store.usable"
    if away:
        each = [(at, *to_do(why)) for at, why in sorted(away.items())]
        return told([problem(check, f"{address}: {what}", advice, at) for at, what, advice in each])
    if fault is None:
        return [fine(check, f"{address} answers, takes writes, and has schema {schema}")]
    what, advice = to_do(fault)
    return [problem(check, f"{address}: {what}", advice)]


def to_do(fault: str) -> tuple[str, str]:
    """What is wrong with the store, and what whoever runs it can do; `fault` has advice for callers behind it."""
    advice = next((advice for word, advice in _TO_DO if word in fault), _START)
    return fault.removeprefix("REDIS_URL: ").partition("; ")[0], advice


def judge(facts: StoreFacts) -> list[Finding]:
    """Latency, version, age, clients, slow calls, clock and who shares it."""
    return [
        _latency(facts.ping_ms),
        _version(facts),
        _age(facts.uptime_seconds),
        _clients(facts),
        _slow(facts),
        _clock(facts.clock_ahead_ms, facts.clock_error_ms),
        _coordinators(facts.coordinators),
    ]


def _latency(ping_ms: Sequence[float]) -> Finding:
    check = "store.latency"
    ordered = sorted(ping_ms)
    middle, high = ordered[len(ordered) // 2], ordered[-1 - len(ordered) // 100]
    found = f"of {len(ordered)} PINGs the middle one took {ms(middle)}, the slowest {ms(high)}"
    if high > SLOW_PING_MS:
        return warning(check, found, "look at the store's machine, at the network to it, and at store.slow")
    if middle > BUSY_PING_MS:
        return note(check, found, "keep store and coordinators in one place: each job costs some of these")
    return fine(check, found)


def _version(facts: StoreFacts) -> Finding:
    check = "store.version"
    found = f"{facts.server} {dotted(facts.version)}"
    if facts.compatible[:2] < OLDEST:
        return problem(check, found, f"update it: qgjob needs {dotted(OLDEST)} or newer")
    if not lua_mended(facts.server, facts.version):
        return note(check, f"{found} may have CVE-2025-49844: who may call it can run anything there", _UPDATE)
    return fine(check, found)


def lua_mended(server: str, version: tuple[int, ...]) -> bool:
    """Whether a release is one without CVE-2025-49844; True where nothing is known of a server of that name."""
    mended = _LUA_MENDED.get(server, ())
    for first in mended:
        if version[:2] == first[:2]:
            return version >= first
    return not mended or version > mended[-1]


def _age(uptime_seconds: int) -> Finding:
    check = "store.age"
    found = f"its process runs for {span(uptime_seconds)}"
    if uptime_seconds < YOUNG_SECONDS:
        return note(check, found, "nothing, if somebody restarted it; else its log says why it ended")
    return fine(check, found)


def _clients(facts: StoreFacts) -> Finding:
    check = "store.clients"
    found = f"{facts.clients} of at most {facts.max_clients} connections are open"
    if facts.clients > MANY_CLIENTS * facts.max_clients:
        return warning(check, found, "raise the store's maxclients, or lower REDIS_POOL_SIZE")
    return fine(check, found)


def _slow(facts: StoreFacts) -> Finding:
    check = "store.slow"
    if facts.slow is None:
        return note(check, "the store does not show its slow calls")
    recent = [call for call in facts.slow if call.ago_seconds <= SLOW_CALLS_SECONDS]
    if not recent:
        return fine(check, f"no slow call in its log within {span(SLOW_CALLS_SECONDS)}")
    worst = max(recent, key=lambda call: call.took_ms)
    found = f"{count(len(recent), 'slow call')} in its log within {span(SLOW_CALLS_SECONDS)}; the slowest was "
    found += f"{worst.name} with {ms(worst.took_ms)}, {span(worst.ago_seconds)} ago"
    if worst.took_ms > SLOW_CALL_MS:
        return warning(check, found, "look at the store's machine; others must not use this store for long calls")
    return note(check, found)


def _clock(ahead_ms: float, error_ms: float) -> Finding:
    check = "store.clock"
    if abs(ahead_ms) <= max(CLOCK_NOTE_MS, error_ms):
        return fine(check, f"its clock and the coordinator's differ by less than {ms(max(CLOCK_NOTE_MS, error_ms))}")
    found = f"its clock is {ms(abs(ahead_ms))} {'ahead of' if ahead_ms > 0 else 'behind'} the coordinator's"
    advice = "synchronise the clocks of both machines (NTP): not_before, `until` and reported times go by them"
    return (warning if abs(ahead_ms) > CLOCK_WARNING_MS else note)(check, found, advice)


def _coordinators(number: int | None) -> Finding:
    check = "store.coordinators"
    if number is None:
        return note(check, "the store does not tell how many coordinators share it")
    if number == 0:
        return warning(
            check,
            "no coordinator hears the others at this store now, this one too",
            "nothing if it passes within seconds; else wake-ups come late: see `hints` in the coordinator's log",
        )
    return fine(check, f"{count(number, 'coordinator')} {'uses' if number == 1 else 'share'} it")
