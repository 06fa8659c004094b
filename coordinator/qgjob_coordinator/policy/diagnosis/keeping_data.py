"""Whether the store keeps what it acknowledged: eviction, memory, the append-only file, snapshots, replicas."""

from __future__ import annotations

from qgjob_coordinator.model.findings import Finding, Level
from qgjob_coordinator.policy.diagnosis.facts import StoreFacts
from qgjob_coordinator.policy.diagnosis.words import count, fine, note, problem, size, warning

FULL = 0.95
NEARLY_FULL = 0.8
LATE_REPLICA_SECONDS = 10
TIERS = ("none", "no", "everysec", "always")
"""What survives a power cut, from nothing to everything acknowledged: no append-only file, then its fsync policies."""


def judge(facts: StoreFacts, durability: str) -> list[Finding]:
    """All that may lose what was acknowledged; `durability` is the setting."""
    return [
        _eviction(facts),
        _memory(facts),
        _durability(facts, durability),
        *_writing(facts),
        *_replication(facts),
    ]


def _eviction(facts: StoreFacts) -> Finding:
    check = "store.eviction"
    if facts.eviction != "noeviction":
        return problem(
            check,
            f"maxmemory-policy is {facts.eviction}, which deletes jobs when memory is short",
            "run CONFIG SET maxmemory-policy noeviction, and set the same in its config file",
        )
    if facts.evicted_keys:
        return warning(
            check,
            f"maxmemory-policy is noeviction now, but {count(facts.evicted_keys, 'key')} went since the store began",
            "look which jobs are missing and submit them again; see that its config file says noeviction",
        )
    return fine(check, "maxmemory-policy is noeviction, and nothing was evicted")


def _memory(facts: StoreFacts) -> Finding:
    check = "store.memory"
    limit, whose = (facts.max_bytes, "its maxmemory") if facts.max_bytes else (facts.machine_bytes, "its machine")
    if not limit:
        return fine(check, f"{size(facts.used_bytes)} in use, without a limit")
    found = f"{size(facts.used_bytes)} of the {size(limit)} of {whose} in use"
    advice = "raise maxmemory" if facts.max_bytes else "give the machine more memory"
    advice += ", or keep finished jobs for a shorter time (RETENTION_DAYS)"
    share = facts.used_bytes / limit
    if share >= FULL:
        return problem(check, f"{found}: when it is full, nothing is taken any more", advice)
    if share >= NEARLY_FULL:
        return warning(check, found, advice)
    return fine(check, found)


def tier(facts: StoreFacts) -> str | None:
    """The store's durability, one of TIERS; None where it does not tell."""
    return facts.fsync if facts.aof else TIERS[0]


def _durability(facts: StoreFacts, wanted: str) -> Finding:
    check = "store.durability"
    found = tier(facts)
    if found not in TIERS:
        return note(
            check,
            "it has an append-only file, and does not tell how often that is written through",
            f"see in the store's own settings that appendfsync is {wanted}",
        )
    words = "without an append-only file" if found == TIERS[0] else f"appendfsync {found}"
    if TIERS.index(found) >= TIERS.index(wanted):
        return fine(check, f"{words}; DURABILITY asks for {wanted}")
    lost = "a restart of the store forgets every job" if found == TIERS[0] else "a power cut loses more than it says"
    return warning(
        check,
        f"{words}, where DURABILITY asks for {wanted}: {lost}",
        f"run CONFIG SET appendonly yes and CONFIG SET appendfsync {wanted}, and set the same in its config file; "
        "or change DURABILITY",
    )


def _writing(facts: StoreFacts) -> list[Finding]:
    """What the store says of its own writing to disk."""
    check = "store.disk"
    room = "make room on the store's disk; its log says what it could not write"
    found = []
    if facts.aof and not facts.aof_written:
        found.append(problem(check, "its last write to the append-only file failed", room))
    if facts.aof and not facts.aof_rewritten:
        found.append(warning(check, "its last rewrite of the append-only file failed, so that the file grows", room))
    if not facts.snapshot_saved:
        found.append(
            warning(
                check, "its last snapshot (BGSAVE) failed; with stop-writes-on-bgsave-error it takes no writes", room
            )
        )
    if found:
        return found
    if facts.aof_delayed:
        return [
            note(
                check,
                f"{count(facts.aof_delayed, 'write')} had to wait for the disk since it began",
                "a faster disk, or one that others don't use, if store.latency is high too",
            )
        ]
    return [fine(check, "its last writes to disk went well")]


def _replication(facts: StoreFacts) -> list[Finding]:
    if not facts.primary:
        found = "it is a replica, and takes no writes"
        return [problem("store.replication", found, "point REDIS_URL at the primary")]
    copies = _copies(facts)
    if copies.level is not Level.OK or not facts.fails_over:
        return [copies]  # the rule comes later: with it, and no replica that keeps up, the store takes no writes
    return [_cut_off(facts) or copies]


def _copies(facts: StoreFacts) -> Finding:
    """What of the primary is elsewhere too."""
    check = "store.replication"
    if not facts.replicas and facts.fails_over:
        return warning(
            check,
            "it is the primary, and no replica is there to take its place: its death loses the store, or stops all "
            "until it is back",
            "start the server that died again, which becomes a replica, or another one on a machine of its own "
            "(REPLICAOF HOST PORT; in a Cluster redis-cli --cluster add-node NEW OLD --cluster-slave)",
        )
    if not facts.replicas:
        return fine(check, "it is the primary, without replicas")
    late = [r for r in facts.replicas if not r.online or r.lag_seconds > LATE_REPLICA_SECONDS]
    found = f"it is the primary, with {count(len(facts.replicas), 'replica')}"
    if late:
        return warning(
            check,
            f"{found}, {len(late)} of them away or late: a failover to such a one goes back in time",
            "look at the replicas and the network to them",
        )
    return fine(check, f"{found} that keep up")


def _cut_off(facts: StoreFacts) -> Finding | None:
    """Whether a primary that is cut off from the others, while one of them takes its place, goes on taking work."""
    check = "store.replication"
    rules = "min-replicas-to-write 1 and min-replicas-max-lag 10"
    if facts.wanted_replicas is None:
        found = "it does not tell its min-replicas-to-write"
        return note(check, found, f"see in the store's own settings that they have {rules}")
    if facts.wanted_replicas:
        return None
    return warning(
        check,
        "min-replicas-to-write is 0, or min-replicas-max-lag is: when it is cut off it goes on taking jobs, "
        "which are lost when another server takes its place",
        "run CONFIG SET min-replicas-to-write 1 and CONFIG SET min-replicas-max-lag 10 on each server of the group, "
        "and set the same in its config file",
    )
