"""The disk of the agent's state: no new work where there is too little room, and again when there is enough.

Three things close the agent: a look that finds less than `Limits.min_free_bytes` free (or hardly an inode), a write
that was refused, and that its state directory was removed, since nothing that it writes then would be found again. The
first ends when READMIT_FACTOR times as much is free, so that one test's files can't close and open the agent in turn;
the second when the shell has proved that writes are taken again; the third when the same directory is back. What runs
goes on, and what is known is kept. Where a proof is followed by the next refusal all the same, the next one waits twice
as long each time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.attempts import give_back_unstarted, not_begun, start_all
from qgjob_agent.core.instructions import Persist, SendInventory
from qgjob_agent.core.values import DeathCause, Phase

if TYPE_CHECKING:
    from qgjob_agent.core.events import DiskMeasured, LaunchRefused, SpoolFailed, SpoolRecovered, StateDirSeen
    from qgjob_agent.core.state import State

READMIT_FACTOR = 1.5
MIN_FREE_INODES = 1_000
LONGEST_RETRY_SECONDS = 60.0
SOON_SECONDS = 60.0
"""An attempt that is refused so soon after the disk was found well says that the proof proved too little."""


def measured(state: State, event: DiskMeasured) -> None:
    """A look at the disk: closes the agent, or opens it, by the two thresholds."""
    disk = state.disk
    before = disk.short
    disk.short = _shortage(event, state.limits.min_free_bytes, already=before is not None)
    if before is None and disk.short is not None:
        state.warn("disk_full", free_mb=_mb(event.free_bytes), free_inodes=event.free_inodes)
        _close(state)
    elif before is not None and disk.short is None:
        state.note("disk_has_room", free_mb=_mb(event.free_bytes), free_inodes=event.free_inodes)
        _open(state)


def state_dir_seen(state: State, event: StateDirSeen) -> None:
    """The state directory was removed, or is back: closes the agent, or opens it."""
    before, state.disk.gone = state.disk.gone, event.gone
    if event.gone is None:
        if before is not None:
            state.note("state_dir_back")
            _open(state)
    else:
        state.warn("state_dir_gone", why=event.gone)
        _close(state, "the agent's state_dir was removed")


def _shortage(event: DiskMeasured, min_free_bytes: int, *, already: bool) -> str | None:
    """What there is too little of, in words; None when there is enough, which is more where it was short `already`."""
    factor = READMIT_FACTOR if already else 1.0
    if event.free_bytes < min_free_bytes * factor:
        again = _mb(int(min_free_bytes * READMIT_FACTOR))
        return f"{_mb(event.free_bytes)} MB are free, and it takes work again from {again} MB"
    if min_free_bytes and event.free_inodes is not None and event.free_inodes < MIN_FREE_INODES * factor:
        again = int(MIN_FREE_INODES * READMIT_FACTOR)
        return f"{event.free_inodes} inodes are free, and it takes work again from {again}"
    return None


def _mb(size: int) -> int:
    return size // 1_000_000


def spool_failed(state: State, event: SpoolFailed) -> None:
    """The disk refused a result, which stays in memory and is told all the same."""
    disk = state.disk
    if disk.refused is None:
        state.warn("spool_failed", error=event.error)
        if not _soon(state):
            disk.launches_refused = 0
    _refused(state, event.error)


def launch_refused(state: State, event: LaunchRefused) -> None:
    """The disk has no room for an attempt's files: it is given back, and so is all that has not begun."""
    state.warn("launch_refused", token=event.token, error=event.error)
    disk = state.disk
    if disk.refused is None:
        disk.launches_refused = disk.launches_refused + 1 if _soon(state) else 1
    _refused(state, event.error)
    lease = state.leases.get(event.token)
    if lease is not None and lease.alive:
        not_begun(state, lease)


def _soon(state: State) -> bool:
    """Whether the disk was found well so short a time ago that the proof proved too little."""
    return state.now - state.disk.well_at < SOON_SECONDS


def _refused(state: State, error: str) -> None:
    disk = state.disk
    first = disk.refused is None
    disk.refused = error
    disk.retry_at = state.now + _pause(state)
    state.timers_changed = True
    if first:
        _close(state)


def _pause(state: State) -> float:
    """Seconds until writes are tried again."""
    first, longer = state.limits.spool_retry_seconds, float(1 << min(max(0, state.disk.launches_refused - 1), 16))
    return max(first, min(LONGEST_RETRY_SECONDS, first * longer))


def spool_recovered(state: State, _event: SpoolRecovered) -> None:
    """The disk takes writes again."""
    if state.disk.refused is None:
        return
    state.disk.refused = None
    state.disk.well_at = state.now
    state.note("spool_recovered")
    _open(state)


def retry(state: State) -> None:
    """Tries to write again, when it is time; the shell answers with SpoolRecovered or SpoolFailed."""
    disk = state.disk
    if disk.refused is not None and state.now >= disk.retry_at:
        disk.retry_at = state.now + _pause(state)
        state.out.append(Persist(state.outbox.take_to_persist()))


def _close(state: State, ailment: str = "the agent's disk was full") -> None:
    for device in state.devices.values():
        give_back_unstarted(state, device, DeathCause.DISK_FULL)
    for lease in state.leases.values():
        if lease.phase is Phase.RUNNING:
            lease.disk_was = ailment
    _tell_devices(state)


def _open(state: State) -> None:
    _tell_devices(state)
    start_all(state)


def _tell_devices(state: State) -> None:
    if state.session_open:
        state.out.append(SendInventory(state.session.epoch, state.views()))
