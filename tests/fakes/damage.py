"""Records of an org that can't be used, as a slip of a hand or a fault leaves them; and the repair."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any

from redis import Redis

from qgjob_coordinator.store import keys

DAMAGED, OTHER = "acme", "globex"
"""The order of their names is the order in which they are served."""
_ASIDE = ":kept-aside"


@contextmanager
def damaged(raw: Redis, *suffixes: str, org_id: str = DAMAGED) -> Iterator[None]:
    """Keys of the org hold a string, whatever they are; what they held is put back in the end."""
    names = [keys.org(org_id) + suffix for suffix in suffixes]
    kept: list[Any] = [name for name in names if raw.exists(name)]
    for name in kept:
        raw.rename(name, name + _ASIDE)
    for name in names:
        raw.set(name, "not what is looked for")
    try:
        yield
    finally:
        raw.delete(*names)
        for name in kept:
            raw.rename(name + _ASIDE, name)


@contextmanager
def unusable(raw: Redis, how: str, ulids: Set[str], org_id: str = DAMAGED) -> Iterator[None]:
    """The records of jobs are of "another type", or each "lacks a field": what a job has from its submission."""
    if how == "another type":
        with damaged(raw, *(f"j:{ulid}" for ulid in ulids), org_id=org_id):
            yield
        return
    kept = {name: str(raw.hget(name, "i")) for name in (f"{keys.org(org_id)}j:{ulid}" for ulid in ulids)}
    for name in kept:
        raw.hdel(name, "i")
    try:
        yield
    finally:
        for name, field in kept.items():
            raw.hset(name, "i", field)


BAD_SIGNATURES = ('{"l":{"a":["x"]}}', '{"p":["android"]}', '{"d":["x"]}', '{"l":5}', '{"o":5}')
"""Names of queues that are JSON, and no requirements."""


@contextmanager
def queue_named(raw: Redis, gid: str, signature: str, ulid: str, org_id: str = DAMAGED) -> Iterator[None]:
    """A group of the org has a queue of this name too, with a job on it."""
    group, queue = f"{keys.org(org_id)}g:{gid}", f"{keys.org(org_id)}q:{gid}:{signature}"
    raw.hset(group, f"q:{signature}", "1")
    raw.zadd(queue, {ulid: 1})
    try:
        yield
    finally:
        raw.hdel(group, f"q:{signature}")
        raw.delete(queue)
