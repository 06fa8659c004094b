"""The composition root: builds every part, owns the signals, and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import uuid
from collections.abc import Iterable
from typing import Any

import structlog

from qgjob_agent import __version__
from qgjob_agent.clock import monotonic_seconds
from qgjob_agent.config import AgentConfig
from qgjob_agent.core.events import Recovered, ShutdownRequested
from qgjob_agent.core.machine import Machine
from qgjob_agent.core.values import AgentFacts, Limits
from qgjob_agent.disk_watch import DiskWatch
from qgjob_agent.driver import Driver
from qgjob_agent.errors import AgentError
from qgjob_agent.evidence.keeper import EvidenceKeeper
from qgjob_agent.executions.cgroup_sweep import sweep
from qgjob_agent.executions.lease_file import LeaseFile
from qgjob_agent.parent import until_gone
from qgjob_agent.parts import Parts
from qgjob_agent.runners.of_others import end_of_others
from qgjob_agent.setting_names import Stray
from qgjob_agent.spool import Spool
from qgjob_agent.state_dir import EpochFile, StateDir
from qgjob_agent.stream.evidence_pushing import PushedEvidence
from qgjob_agent.stream.session import Coordinators, Session
from qgjob_agent.tasks import end_tasks
from qgjob_agent.transitions import LEVELS, Transitions, configure_logging

_GC_THRESHOLD = 50_000  # attempts are made and dropped in thousands; none of it is cyclic
_LEAVE_SECONDS = 3.0


def begin_logging(config: AgentConfig, found: Iterable[Stray]) -> None:
    """Sets the log up; `found` are what looks like settings and is none, which it tells."""
    configure_logging(config.log_level, as_json=config.environment == "production")
    for each in found:
        structlog.get_logger().warning("unknown_setting", name=each.name, source=each.source, advice=each.advice)


async def run(config: AgentConfig) -> None:
    """One life of the agent."""
    log: Any = structlog.get_logger().bind(agent_id=config.agent_id)
    state_dir = StateDir.open(config.state_path)
    with contextlib.ExitStack() as stack:
        stack.callback(state_dir.close)
        await _run_in(config, state_dir, stack, log)


async def _run_in(config: AgentConfig, state_dir: StateDir, stack: contextlib.ExitStack, log: Any) -> None:
    try:
        spool, lease_file = Spool(state_dir.spool), LeaseFile(str(state_dir.lease))
        lease_file.forget_later_than(monotonic_seconds())
    except OSError as error:
        raise AgentError(f"state_dir {str(state_dir.path)!r} can't be written: {error.strerror}") from error
    stack.callback(spool.close)
    stack.callback(lease_file.close)
    if spool.dropped_bytes:
        log.warning("spool_torn_line_dropped", bytes=spool.dropped_bytes)
    enabled = LEVELS[config.log_level] <= LEVELS["info"]
    driver = Driver(spool, lease_file, Transitions(log, enabled=enabled))
    stack.callback(driver.close)
    token = None if config.token is None else config.token.get_secret_value()
    coordinators = Coordinators(config.coordinator, config.agent_id, token or None)
    parts = Parts(config, state_dir, driver, coordinators, log)
    builds = parts.builds()
    provider = parts.provider(builds)
    push = PushedEvidence(coordinators)
    evidence = parts.evidence(push, provider)
    runner = parts.runner(provider, builds, evidence)
    limits = Limits(
        credit=config.effective_credit,
        attempts_per_execution=runner.attempts_per_execution,
        kill_grace_seconds=config.kill_grace_seconds,
        min_free_bytes=config.min_free_mb * 1_000_000,
    )
    instance_id = f"{state_dir.home}.{uuid.uuid4().hex}"
    runner_label = "" if config.runner == "simulated" else config.runner
    facts = AgentFacts(
        config.agent_id, instance_id, __version__, socket.gethostname(), config.pushed_builds_only, runner_label
    )
    epochs = EpochFile(state_dir.epoch)
    stack.callback(epochs.close)
    session = Session(coordinators, epochs, driver.dispatch, log)
    disk = DiskWatch(state_dir, driver.dispatch, log)
    driver.connect(Machine(facts, provider.devices(), limits), runner, provider, session, disk.look)
    disk.look()
    evidence.open()
    settled = {report.token for report in spool.pending.values()}
    for root in (root for name, root in state_dir.by_runner.items() if name != config.runner):
        await end_of_others(root, config.kill_grace_seconds, log, evidence, settled)
    if removed := await asyncio.to_thread(sweep):
        log.info("cgroups_removed", count=removed)
    recovery = await runner.recover(settled)
    driver.dispatch(Recovered(list(spool.pending.values()), recovery.attempts))
    driver.report(recovery.ended)
    await provider.start()
    log.info("agent_started", version=__version__, devices=len(provider.devices()), runner=config.runner)
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD)
    gc.enable()
    await _serve(config, driver, session, disk, evidence, log)
    await push.close()
    await runner.close()
    await provider.close()
    await builds.close()
    log.info("agent_stopped")


async def _serve(
    config: AgentConfig, driver: Driver, session: Session, disk: DiskWatch, evidence: EvidenceKeeper, log: Any
) -> None:
    """Keeps the session until the agent is told to end and has told everything."""
    _handle_signals(config, driver, log)
    speaking = asyncio.create_task(session.run(), name="session")
    stopping = asyncio.create_task(driver.stopped.wait(), name="stopping")
    tasks = [speaking, stopping, asyncio.create_task(disk.run(), name="disk")]
    keeping = asyncio.create_task(evidence.run(), name="evidence")
    keeping.add_done_callback(lambda task: _told_of_fault(task, driver))
    tasks.append(keeping)
    if config.parent_pid is not None:
        tasks.append(asyncio.create_task(_watch_parent(config.parent_pid, driver, log), name="parent"))
    try:
        await asyncio.wait([speaking, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not speaking.done():
            await asyncio.wait([speaking], timeout=_LEAVE_SECONDS if session.leave() else 0)
    finally:
        await end_tasks(tasks)
    if driver.failure is not None:
        raise driver.failure
    if not speaking.cancelled():
        speaking.result()


def _told_of_fault(task: asyncio.Task[None], driver: Driver) -> None:
    """A fault of the program ends the agent: what attempts leave would heap up, and nobody would be told."""
    error = None if task.cancelled() else task.exception()
    if isinstance(error, Exception):
        driver.failed(error)


def _handle_signals(config: AgentConfig, driver: Driver, log: Any) -> None:
    """SIGTERM and SIGINT drain, then kill; a second one kills at once. Under `up` the first one does."""
    drain_seconds = 0.0 if config.parent_pid is not None else config.drain_seconds

    def end(name: str) -> None:
        log.info("shutdown_requested", signal=name, drain_seconds=drain_seconds)
        driver.dispatch(ShutdownRequested(drain_seconds))

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end, number.name)


async def _watch_parent(pid: int, driver: Driver, log: Any) -> None:
    """An agent that belongs to another process ends with it."""
    await until_gone(pid)
    log.warning("parent_gone", parent_pid=pid)
    driver.dispatch(ShutdownRequested(0.0))
