"""The groups with waiting work, by what they are looked up by.

A round may be for one device among thousands of groups, so a group costs next to nothing before somebody looks at it:
its `Work` is made then, and each index when it is first asked for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from functools import cached_property

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.policy.planning.fleet import Fleet
from qgjob_coordinator.policy.planning.work import GroupKey, Work, oldest, seconds_in_all
from qgjob_coordinator.policy.snapshot import INSTALL_SECONDS, GroupView, Snapshot

Build = tuple[str, str]
"""(org, app version)"""


class Groups:
    """Those that had waiting jobs as the round began. `made`: the work of those that somebody looked at."""

    def __init__(self, snapshot: Snapshot, fleet: Fleet) -> None:
        self._snapshot = snapshot
        self._fleet = fleet
        self.made: dict[GroupKey, Work] = {}
        self._waiting = [g for g in snapshot.groups if g.queues and (g.queues[0].waiting or g.waiting)]
        self._of_target: dict[Target, list[GroupView]] = {}
        self._of_build: dict[Target, dict[Build, GroupView]] = {}
        self._oldest: dict[str, float] = {}
        self._orgs: dict[Target, frozenset[str]] = {}
        self._builds: dict[Target, set[Build]] = {}

    def of(self, target: Target) -> list[GroupView]:
        """Those of a target."""
        known = self._of_target.get(target)
        if known is None:
            known = self._of_target[target] = [g for g in self._waiting if g.target is target]
        return known

    def of_build(self, target: Target) -> dict[Build, GroupView]:
        """Those of a target by what has to be installed for them."""
        known = self._of_build.get(target)
        if known is None:
            known = self._of_build[target] = {(g.org_id, g.app_version_id): g for g in self.of(target)}
        return known

    @cached_property
    def by_key(self) -> dict[GroupKey, GroupView]:
        """All of them."""
        return {(group.org_id, group.gid): group for group in self._waiting}

    def of_org(self, org_id: str) -> list[GroupView]:
        """Those of an org, of all targets."""
        return self._by_org.get(org_id, [])

    def oldest_of(self, org_id: str) -> float:
        """The least score of an org's jobs as the round began; infinite if none is shown."""
        known = self._oldest.get(org_id)
        if known is None:
            scores = [score for score in map(oldest, self.of_org(org_id)) if score is not None]
            known = self._oldest[org_id] = min(scores, default=math.inf)
        return known

    @cached_property
    def _by_org(self) -> dict[str, list[GroupView]]:
        of_org: dict[str, list[GroupView]] = defaultdict(list)
        for group in self._waiting:
            of_org[group.org_id].append(group)
        return of_org

    def orgs(self, target: Target) -> frozenset[str]:
        """Whose they are, of a target."""
        known = self._orgs.get(target)
        if known is None:
            known = self._orgs[target] = frozenset([group.org_id for group in self.of(target)])
        return known

    def builds(self, target: Target) -> set[Build]:
        """The builds of a target's groups that have not ended, whether jobs of them wait or not."""
        known = self._builds.get(target)
        if known is None:
            groups = self._snapshot.groups
            known = self._builds[target] = {(g.org_id, g.app_version_id) for g in groups if g.target is target}
        return known

    def bound(self, group: GroupView) -> bool:
        """Whether a device of the round lacks a build of the group's app version, which has some that were pushed."""
        return not self._fleet.build_slots <= group.pushed

    def work(self, group: GroupView) -> Work:
        """What there is to do of a group, from its first look on."""
        key = group.org_id, group.gid
        work = self.made.get(key)
        return self._make(key, group) if work is None else work

    def per_device(self, group: GroupView, more: int) -> float:
        """`Work.per_device` of a group; where nobody looked at it, and each device that serves it has a part in what
        waits, without making its work.
        """
        key = group.org_id, group.gid
        work = self.made.get(key)
        if work is None:
            held = self._serving(key, group).values()
            each = (seconds_in_all(group) + math.fsum(held)) / max(1, len(held) + more)
            if max(held, default=0.0) <= each:
                return each
            work = self._make(key, group)
        return work.per_device(more)

    def _make(self, key: GroupKey, group: GroupView) -> Work:
        install = self._snapshot.install_seconds.get(group.target, INSTALL_SECONDS)
        bound = bool(group.pushed) and self.bound(group)
        work = self.made[key] = Work(key, group, install, self._serving(key, group), bound=bound)
        return work

    def _serving(self, key: GroupKey, group: GroupView) -> dict[str, float]:
        """The devices that serve a group, with the seconds until each has done what it holds."""
        serving = dict.fromkeys(group.serving, 0.0)
        views = self._fleet.views
        for device_id in serving:
            # Who serves a group is the store's to say: a claim is refused where the plan counted otherwise.
            device = views.get(device_id)
            if device is not None and device.holds_for == key:
                serving[device_id] = self._fleet.free_in(device)
        return serving
