# ruff: noqa: S311 - randomness here is that of a seed
"""Snapshots for tests of the plan: short builders, and a strategy for any of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from qgjob_coordinator.policy.rank import ORDER_EPOCH_MS, ORDERS_PER_MS, queue_score
from qgjob_coordinator.policy.snapshot import DeviceView, GroupView, Head, Limits, Queue, Snapshot

ANDROID = Requirements(platform="android")


NOW = ORDER_EPOCH_MS + 1_000_000


def score(second: int, priority: Priority = Priority.MEDIUM) -> int:
    """The queue score of a job that was submitted at this second; the snapshots are of second 1,000."""
    return queue_score(priority, second * 1000 * ORDERS_PER_MS)


def device(device_id: str, **changes: Any) -> DeviceView:
    """An idle, cold emulator."""
    values: dict[str, Any] = {"device_id": device_id, "agent_id": "agent-1", "target": Target.EMULATOR}
    return DeviceView(**values | changes)


def queue(
    name: str,
    orders: Sequence[int],
    priority: Priority = Priority.MEDIUM,
    requirements: Requirements = ANY_DEVICE,
    avoid: tuple[str, ...] = (),
) -> Queue:
    """A queue of jobs `<name><order>`."""
    heads = tuple(Head(score(o, priority), f"{name}{o}") for o in sorted(orders))
    return Queue(requirements, avoid, len(heads), heads)


def group(version: str, *queues: Queue, org_id: str = "acme", **changes: Any) -> GroupView:
    """A group of emulator jobs that nobody serves."""
    values: dict[str, Any] = {
        "org_id": org_id,
        "gid": f"e-{version}",
        "app_version_id": version,
        "target": Target.EMULATOR,
        "unfinished": sum(q.waiting for q in queues),
        "installs": 0,
        "serving": {},
        "queues": queues,
    }
    return GroupView(**values | changes)


def snapshot(devices: Sequence[DeviceView], groups: Sequence[GroupView], **changes: Any) -> Snapshot:
    """Of these, where all devices are candidates of their targets."""
    candidates = {t: tuple(d for d in devices if d.target is t) for t in Target}
    values: dict[str, Any] = {
        "devices": tuple(devices),
        "groups": tuple(groups),
        "candidates": candidates,
        "now": NOW,
    }
    return Snapshot(**values | changes)


ORGS = ("acme", "globex", "initech")
VERSIONS = ("v1", "v2", "v3")
TARGETS = (Target.EMULATOR, Target.DEVICE)
SECONDS = (0.1, 0.7, 3.3, 30.0, 200.0)
"""What jobs are expected to take; tenths, since sums of them depend on their order."""
AGES = (*range(-33_000, -7000, 500), *range(-7000, 0, 100), *range(400, 1000, 5))
"""Seconds of submission: some long before `NOW`, so that they are urgent by age, and some that are like each other."""


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Anything that a store and a fleet may show, also where they have not yet heard of each other.

    How much there is of each is drawn, so that failing ones become small; all else is of a drawn seed, so that most
    have much to plan.
    """
    counts = (draw(st.sampled_from(range(most + 1))) for most in (7, 3, 7))
    return some_snapshot(Random(draw(st.integers(0, 1 << 32))), *counts)


def some_snapshot(random: Random, devices: int, busy: int, groups: int) -> Snapshot:
    """One with so many devices that may take work, others that serve, and groups."""
    ids = [f"d{n}" for n in range(devices)]
    waiting = _groups(random, ids, groups)
    free = [_device(random, device_id, waiting) for device_id in ids]
    others = [d for n in range(busy) if (d := _device(random, f"b{n}", waiting)).held]
    return snapshot(
        free,
        _told(random, waiting, (*free, *others)),
        busy=tuple(others),
        limits=Limits(
            batch=random.randint(1, 8),
            group_max_devices=random.choice((None, None, 1, 2, 3)),
            fan_out=random.choice((7.5, 1.0)),
        ),
        room={org_id: random.randint(0, 6) for org_id in ORGS if random.random() < 0.3},
        weights={org_id: random.choice((0.5, 2.0, 3.0)) for org_id in ORGS if random.random() < 0.3},
        install_seconds={t: random.choice((5.0, 45.0, 300.0)) for t in TARGETS if random.random() < 0.5},
    )


def _groups(random: Random, ids: Sequence[str], count: int) -> list[GroupView]:
    keys = random.sample([(o, v, t) for o in ORGS for v in VERSIONS for t in TARGETS], count)
    ages = iter(random.sample(AGES, len(AGES)))
    groups = []
    for org_id, version, target in keys:
        kinds = random.sample(
            [(r, a) for r in (ANY_DEVICE, ANDROID) for a in ((), ("d0",))], random.choice((1, 1, 2, 3))
        )
        if len(kinds) == 1 and random.random() < 0.7:
            kinds = [(ANY_DEVICE, ())]
        queues = []
        for requirements, avoid in kinds:
            heads = _heads(random, [next(ages) for _ in range(random.randint(1, 6))])
            queues.append(Queue(requirements, avoid, len(heads) + random.choice((0, 0, 5, 40)), heads))
        groups.append(
            group(
                version,
                *queues,
                org_id=org_id,
                gid=f"{target.value[0]}-{version}",
                target=target,
                serving={i: random.randint(1, 3) for i in (*ids, "away") if random.random() < 0.1},
                typical_seconds=random.choice(SECONDS),
            )
        )
    return groups


def _heads(random: Random, seconds: Sequence[int]) -> tuple[Head, ...]:
    def head(second: int) -> Head:
        takes = random.choice((None, *SECONDS))
        return Head(score(second, random.choice(list(Priority))), f"j{second}", takes)

    return tuple(sorted(map(head, seconds)))


def _device(random: Random, device_id: str, groups: Sequence[GroupView]) -> DeviceView:
    target = random.choice(TARGETS)
    mine = [g for g in groups if g.target is target]
    holds = random.choice(mine) if mine and random.random() < 0.4 else None
    installed = random.choice((None, (random.choice(ORGS), random.choice(VERSIONS))))
    return device(
        device_id,
        target=target,
        platform=random.choice(("android", "ios", None)),
        installed=(holds.org_id, holds.app_version_id) if holds else installed,
        held=random.randint(1, 4) if holds else 0,
        holds_for=(holds.org_id, holds.gid) if holds else None,
        free_at=NOW + random.choice((-5000, 0, 700, 40_000, 900_000)) if holds else 0,
        home_since=NOW - random.choice((0, 100_000, 5_000_000)),
        idle_since=NOW - random.choice((0, 1000, 60_000)),
        installs=random.randint(0, 2),
        busy_hours=random.choice((0.0, 1.5)),
        idled=random.choice((0, 60_000, 5_000_000)) if holds else 0,
    )


def _told(random: Random, groups: Sequence[GroupView], devices: Sequence[DeviceView]) -> list[GroupView]:
    """Groups that know who serves them, but for a device that they have not heard of yet."""
    known: dict[tuple[str, str], dict[str, int]] = {(g.org_id, g.gid): dict(g.serving) for g in groups}
    for d in devices:
        if d.holds_for is not None and random.random() < 0.95:
            known[d.holds_for][d.device_id] = d.held
    return [g._replace(serving=known[g.org_id, g.gid]) for g in groups]
