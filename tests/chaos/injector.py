"""Carries out a schedule: each lane in a task of its own, one fault after the other."""

from __future__ import annotations

import asyncio
import traceback
from collections import defaultdict
from collections.abc import Sequence

from tests.chaos import clock
from tests.chaos.faults.registry import INJECT
from tests.chaos.history import Done, Span
from tests.chaos.lab import Lab
from tests.chaos.schedule import Fault


async def inject(lab: Lab, faults: Sequence[Fault], begin: float, end: float, done: list[Done]) -> None:
    """Returns when the last fault has had its recovery, or was given up. What begins only after `end` is left out.

    A fault begins at its time, or when the one before in its lane has recovered, if that is later.
    """
    by_lane: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        by_lane[fault.lane].append(fault)
    async with asyncio.TaskGroup() as group:
        for lane in by_lane.values():
            group.create_task(_lane(lab, lane, begin, end, done))


async def _lane(lab: Lab, faults: Sequence[Fault], begin: float, end: float, done: list[Done]) -> None:
    for fault in faults:
        await asyncio.sleep(max(0.0, begin + fault.at - clock.now()))
        if clock.now() + fault.seconds > end:
            return
        began = clock.now()
        try:
            outcome = await INJECT[fault.kind](lab, fault)
        except Exception:  # noqa: BLE001 - told as what it is, and the other lanes go on
            lab.trouble("lab", f"{fault}:\n{traceback.format_exc()}")
            continue
        span = Span(began, clock.now())
        done.append(Done(fault, span, outcome.recoveries, outcome.note, outcome.grown_mib))
