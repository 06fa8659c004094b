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


ORGS = ("acme", "globex")
VERSIONS = ("v1", "v2", "v3")
TARGETS = (Target.EMULATOR, Target.DEVICE)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Anything that a store and a fleet may show."""
    keys = [(o, v, t) for o in ORGS for v in VERSIONS for t in TARGETS]
    ids = [f"d{n}" for n in range(draw(st.integers(0, 7)))]
    shuffled = Random(draw(st.integers(0, 1000))).sample(range(200), 200)  # noqa: S311 - from the drawn seed
    orders = iter(shuffled)
    groups = []
    for org_id, version, target in draw(st.lists(st.sampled_from(keys), unique=True, max_size=7)):
        queues: dict[Any, Queue] = {}
        for requirements, avoid in draw(
            st.lists(
                st.tuples(st.sampled_from((ANY_DEVICE, ANDROID)), st.sampled_from(((), ("d0",), ("d0", "d1")))),
                unique=True,
                max_size=3,
            )
        ):
            picked = [next(orders) for _ in range(draw(st.integers(1, 6)))]
            scored = sorted((score(o, draw(st.sampled_from(Priority))), f"j{o}") for o in picked)
            heads = [Head(*pair) for pair in scored]
            more = draw(st.integers(0, 40))
            queues[requirements, avoid] = Queue(requirements, avoid, len(heads) + more, tuple(heads))
        serving = draw(st.dictionaries(st.sampled_from([*ids, "away"]), st.integers(1, 3), max_size=3))
        groups.append(
            group(
                version,
                *queues.values(),
                org_id=org_id,
                gid=f"{target.value[0]}-{version}",
                target=target,
                serving=serving,
            )
        )
    devices = []
    for device_id in ids:
        target = draw(st.sampled_from(TARGETS))
        holds = draw(st.none() | st.sampled_from(groups)) if groups else None
        if holds is not None and holds.target is not target:
            holds = None
        devices.append(
            device(
                device_id,
                target=target,
                platform=draw(st.sampled_from(("android", "ios", None))),
                installed=draw(st.none() | st.tuples(st.sampled_from(ORGS), st.sampled_from(VERSIONS))),
                held=draw(st.integers(1, 4)) if holds else 0,
                holds_for=(holds.org_id, holds.gid) if holds else None,
            )
        )
    limits = Limits(batch=draw(st.integers(1, 8)), group_max_devices=draw(st.none() | st.integers(1, 3)))
    room = draw(st.dictionaries(st.sampled_from(ORGS), st.integers(0, 6)))
    return snapshot(devices, groups, limits=limits, room=room)
