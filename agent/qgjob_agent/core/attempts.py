"""The life of an attempt on its device: begun when nothing else lives there, ended once, killed when told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.core.events import (
    AttemptFinished,
    AttemptInstalled,
    AttemptKilled,
    AttemptProgressed,
    AttemptStarted,
    InstallEnded,
    RunnerReported,
    TreeStuck,
)
from qgjob_agent.core.instructions import Install, Kill, Start
from qgjob_agent.core.inventory import tell_device, tree_stuck
from qgjob_agent.core.reporting import report, tell_installed
from qgjob_agent.core.values import DeathCause, Finished, Outcome, Phase, Progress, Started, TreeDead

if TYPE_CHECKING:
    from qgjob_agent.core.device import Device
    from qgjob_agent.core.leases import Lease
    from qgjob_agent.core.state import State


def start_next(state: State, device: Device) -> None:
    """Begins the next attempts of a device, if nothing lives there and the lease allows it."""
    if device.seen is not None and not device.living:
        news, device.installed, device.seen = device.seen.installed != device.installed, device.seen.installed, None
        if news:
            tell_device(state, device)
    queue = device.queue
    if not queue or device.living or device.gone or not state.may_start:
        return
    first = queue.popleft()
    _begin(state, device, first)
    if not device.has(first.app):
        first.installing = True
        state.out.append(Install(first.assignment))
        return
    _start(state, device, first)


def _start(state: State, device: Device, first: Lease) -> None:
    """Begins an attempt whose build is installed, and with it as many of its build as the runner takes at once."""
    batch = [first.assignment]
    queue, most = device.queue, state.limits.attempts_per_execution
    while queue and len(batch) < most and device.has(queue[0].app):
        lease = queue.popleft()
        _begin(state, device, lease)
        batch.append(lease.assignment)
    state.out.append(Start(device.facts.device_id, batch))


def _begin(state: State, device: Device, lease: Lease) -> None:
    lease.phase = Phase.RUNNING
    lease.begun_at_ms = state.wall_ms
    device.living.add(lease.assignment.token)


def start_all(state: State) -> None:
    """Begins whatever may begin on any device."""
    for device in state.devices.values():
        start_next(state, device)


def install_ended(state: State, event: InstallEnded) -> None:
    """The installation is over: the attempt that waited for it begins, or ends as its failure."""
    device, lease = state.devices[event.device_id], state.leases.get(event.token)
    if lease is None or not lease.installing:
        return
    lease.installing = False
    passed = event.outcome is Outcome.PASSED and not event.cancelled
    device.installed, device.seen = lease.app if passed else None, None
    if not (event.cancelled or event.was_there or event.unresolvable or event.unfetched):  # else nothing was installed
        lease.install_ms = lease.assignment.install_ms = event.install_ms
        tell_installed(state, lease.assignment, event.outcome, event.install_ms)
    if lease.phase is Phase.DYING:
        _dead(state, lease, lease.cause or DeathCause.REVOKED, state.wall_ms)
    elif not passed:
        error = event.error or "the installation was stopped"
        body = Finished(event.outcome, lease.begun_at_ms, state.wall_ms, 0, error=error, install_ms=lease.install_ms)
        body.unresolvable, body.unfetched, body.host_unfit = event.unresolvable, event.unfetched, event.host_unfit
        _ended(state, lease, body)
    elif not state.clock.fresh(state.now):
        _dead(state, lease, state.lease_end_cause, state.wall_ms)
    elif state.disk.problem is not None:
        not_begun(state, lease)
    else:
        _start(state, device, lease)


def runner_reported(state: State, event: RunnerReported) -> None:
    """Takes what a runner says, in order. What it says of an attempt that has ended already changes nothing."""
    for item in event.events:
        kind = type(item)
        if kind is TreeStuck:
            tree_stuck(state, item)  # type: ignore[arg-type]  # narrowed by `kind`, which is cheaper
            continue
        lease = state.leases.get(item.token)
        if lease is None or not lease.alive:
            continue
        if kind is AttemptFinished:
            _finished(state, lease, item.finished)  # type: ignore[union-attr]  # narrowed by `kind`, which is cheaper
        elif isinstance(item, AttemptStarted):
            lease.test_begun = True
            report(state, lease, Started(item.started_at_ms))
        elif isinstance(item, AttemptInstalled):
            for _ in range(item.installs):
                tell_installed(state, lease.assignment, Outcome.PASSED, item.install_ms)
        elif isinstance(item, AttemptProgressed):
            report(state, lease, Progress(item.percent))
        elif isinstance(item, AttemptKilled):
            _dead(state, lease, _cause_of(state, lease, item), item.ended_at_ms, started=item.begun)


def _cause_of(state: State, lease: Lease, item: AttemptKilled) -> DeathCause:
    """What asked for its end first: nobody did, of what an earlier daemon's host took."""
    if item.cause is DeathCause.AGENT_LOST:
        return item.cause
    if item.cause is DeathCause.LEASE_LOST and lease.cause is None:
        return state.lease_end_cause  # its supervisor ended it, and this agent has not come to that yet
    return lease.cause or item.cause or DeathCause.REVOKED


def _finished(state: State, lease: Lease, body: Finished) -> None:
    if not lease.test_begun and body.outcome is not Outcome.DEVICE_ERROR:
        lease.test_begun = True
        if not state.session.joined_reports:
            report(state, lease, Started(body.started_at_ms))
    body.begun = lease.test_begun
    body.install_ms = lease.install_ms
    if lease.disk_was is not None and body.outcome is not Outcome.PASSED:
        body.error = "; ".join(filter(None, (body.error, f"{lease.disk_was} while it ran")))
    _ended(state, lease, body)


def not_begun(state: State, lease: Lease) -> None:
    """The agent had no room to run it; nothing of it lives, and another one may."""
    _ended(state, lease, TreeDead(lease.cause or DeathCause.DISK_FULL, state.wall_ms, started=False))


def _dead(state: State, lease: Lease, cause: DeathCause, ended_at_ms: int, *, started: bool = True) -> None:
    _ended(state, lease, TreeDead(cause, ended_at_ms, started=started))


def _ended(state: State, lease: Lease, body: Finished | TreeDead) -> None:
    """The tree is dead: the last report is due and the device is free for the next."""
    lease.phase = Phase.SPOOLED
    report(state, lease, body)
    device = state.devices[lease.assignment.device_id]
    device.living.discard(lease.assignment.token)
    if not device.living:
        start_next(state, device)


def kill(state: State, lease: Lease, cause: DeathCause, grace_seconds: float) -> None:
    """Ends a living attempt. Its device is free when the end is seen, and not before."""
    if lease.phase is not Phase.RUNNING:
        return
    lease.phase, lease.cause = Phase.DYING, cause
    state.out.append(Kill(lease.assignment.device_id, lease.token, cause, grace_seconds, lease.installing))


def drop(state: State, lease: Lease, cause: DeathCause | None) -> None:
    """Drops an unstarted attempt; with a cause its end is reported, without one nobody waits for it."""
    state.devices[lease.assignment.device_id].queue.remove(lease)
    if cause is None:
        del state.leases[lease.token]
        return
    lease.phase = Phase.SPOOLED
    report(state, lease, TreeDead(cause, state.wall_ms, started=False))


def end(state: State, token: str, cause: DeathCause, grace_seconds: float) -> None:
    """Ends an attempt, whatever its phase, and has its end reported. Unknown and ended ones are left alone."""
    lease = state.leases.get(token)
    if lease is None:
        return
    if lease.phase is Phase.UNSTARTED:
        drop(state, lease, cause)
    else:
        kill(state, lease, cause, grace_seconds)


def lose(state: State, token: str) -> None:
    """The lease is no longer this agent's: drops the unstarted attempt, kills the running one."""
    lease = state.leases.get(token)
    if lease is None:
        return
    if lease.phase is Phase.UNSTARTED:
        drop(state, lease, None)
    else:
        kill(state, lease, DeathCause.LEASE_LOST, state.kill_grace_seconds)


def give_back_unstarted(state: State, device: Device, cause: DeathCause) -> None:
    """Ends all unstarted attempts of a device, so that they can run elsewhere."""
    for lease in list(device.queue):
        drop(state, lease, cause)
