"""One run: a lab, a schedule, a workload, and the history that came of it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import clock, stores
from tests.chaos.clients import Clients
from tests.chaos.faults.coordinators import PROBES
from tests.chaos.faults.registry import left_out
from tests.chaos.history import History, Span
from tests.chaos.injector import inject
from tests.chaos.lab import BREAKABLE, SPACED, Lab
from tests.chaos.recorder import Recorder
from tests.chaos.scale import Scale
from tests.chaos.schedule import Form, Kind, lanes, schedule
from tests.chaos.workload import ORGS, workload

STILL_SECONDS = 60.0
"""After the last fault: how long no job may get a verdict while there are unfinished ones."""


@dataclass(frozen=True)
class Plan:
    """What a run is made from. `lua`, `form`: see Lab; `rests`: see lanes. `only`: kinds of faults, all when empty."""

    seed: int
    seconds: float
    scale: Scale
    jobs_per_second: float
    only: tuple[Kind, ...] = ()
    lua: Path | None = None
    form: Form = Form.ONE
    rests: float = 1.0


async def run(plan: Plan, folder: Path) -> History:
    """Carries it out. Everything that was started has ended when it returns, or raises."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # so that nothing is left running
    unwanted = [kind for kind in Kind if plan.only and kind not in plan.only]
    async with Lab(folder, plan.scale, lua=plan.lua, form=plan.form) as lab:
        names = [c.name for c in lab.coordinators]
        unable = [*left_out(), *unwanted]
        places = lanes(names, list(lab.agents), BREAKABLE, SPACED, unable, plan.scale, plan.form, plan.rests)
        faults = schedule(plan.seed, plan.seconds, places, plan.scale)
        actions = workload(plan.seed, plan.seconds, plan.jobs_per_second)
        recorder, clients = Recorder(lab), Clients(lab)
        begin = clock.now()
        history = History(plan.seed, plan.scale, Span(begin, begin), asked=clients.asked)
        following = asyncio.create_task(recorder.follow())
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(clients.carry_out(actions, begin))
                group.create_task(inject(lab, faults, begin, begin + plan.seconds, recorder.done))
            await lab.heal()
            await _drained(lab)
        finally:
            following.cancel()
            (end,) = await asyncio.gather(following, return_exceptions=True)
        if isinstance(end, Exception):
            lab.trouble("recorder", "".join(traceback.format_exception(end)))
        await recorder.finish(history)
    return history


async def _drained(lab: Lab) -> None:
    """Returns when no job is unfinished and no lease is left, or when nothing moves any more: the checker tells."""
    last, since = -1, clock.now()
    while clock.now() - since < STILL_SECONDS:
        with contextlib.suppress(*stores.AWAY):  # looked at again
            prefixes = [f"qg:o:{{{org_id}}}:" for org_id in (*ORGS, PROBES)]
            waiting = sum([await lab.redis.zcard(f"{prefix}ix:a") for prefix in prefixes])
            held = [await lab.redis.keys(f"{prefix}la:*") for prefix in prefixes]
            if not waiting and not any(held):
                return
            if waiting != last:
                last, since = waiting, clock.now()
        await asyncio.sleep(0.2)
