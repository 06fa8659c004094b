"""Who waits for a master may go before it is found: that is no fault of the coordinator's own."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from bench.processes import free_port
from qgjob_coordinator.store.address import parse
from qgjob_coordinator.store.faults import NoServerError
from qgjob_coordinator.store.topology.sentinel import SentinelTopology


@pytest.mark.asyncio
async def test_a_look_for_the_master_that_fails_when_nobody_waits_any_more_says_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    looking, goes_on = asyncio.Event(), asyncio.Event()
    topology = SentinelTopology(parse(f"redis+sentinel://127.0.0.1:{free_port()}/qg"), 1)
    ask = topology._ask

    async def slow(sentinel: Any) -> Any:
        looking.set()
        await goes_on.wait()
        return await ask(sentinel)

    monkeypatch.setattr(topology, "_ask", slow)
    caller = asyncio.create_task(topology.call("PING"))
    await looking.wait()
    caller.cancel()
    await asyncio.wait([caller])
    goes_on.set()
    finding, topology._finding = topology._finding, None
    assert finding is not None
    await asyncio.wait([finding])
    del finding, caller
    gc.collect()
    assert said == []

    with pytest.raises(NoServerError, match="knows qg: connection refused"):  # the next caller is told
        await topology.call("PING")
    await topology.close()
