"""A coordinator that waits for a port which is taken."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from bench.processes import free_port
from qgjob_coordinator.app import Coordinator
from qgjob_coordinator.config import Settings


async def test_one_of_which_a_part_dies_meanwhile_does_not_end_as_if_it_was_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def broken(_: Coordinator, _pid: int | None) -> None:
        raise ArithmeticError("a fault of ours")

    monkeypatch.setattr(Coordinator, "_watch_parent", broken)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for name, value in {"GRPC_PORT": taken.getsockname()[1], "PORT": 0, "REDIS_PORT": free_port()}.items():
            monkeypatch.setenv(f"QGJOB_{name}", str(value))
        try:
            assert not await asyncio.wait_for(Coordinator(Settings.load()).run(), 30)
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                asyncio.get_running_loop().remove_signal_handler(number)
