"""The few words that the agent itself has with an Appium: whether it is ready, and what sessions it should forget."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    from qgjob_agent.hub_address import Address

_READY_SECONDS = 5.0
_DELETE_SECONDS = 30.0
_MOST_BYTES = 4_194_304


async def answers(address: Address) -> bool:
    """Whether an Appium says that it is ready."""
    return (await _ask(address, "GET", "status", _READY_SECONDS))[0] == 200


async def forget_sessions(address: Address, udid: str) -> int | None:
    """Ends what sessions a device has; the test that had them is dead. Gives how many; None if nobody could say.

    Where it can't be asked, Appium ends them itself when they have been silent for its newCommandTimeout.
    """
    status, answer = await _ask(address, "GET", "sessions", _READY_SECONDS)
    listed = answer.get("value")
    if status != 200 or not isinstance(listed, list):
        return None
    ours = [each["id"] for each in listed if isinstance(each, dict) and _udid(each) == udid and each.get("id")]
    for session_id in ours:
        await _ask(address, "DELETE", f"session/{quote(str(session_id), safe='')}", _DELETE_SECONDS)
    return len(ours)


def _udid(session: dict[str, Any]) -> object:
    capabilities = session.get("capabilities")
    if not isinstance(capabilities, dict):
        return None
    return capabilities.get("udid") or capabilities.get("appium:udid") or capabilities.get("deviceUDID")


async def _ask(address: Address, method: str, path: str, seconds: float) -> tuple[int, dict[str, Any]]:
    """The status and what was answered; 0 where nobody answers."""
    head = f"{method} {address.path}{path} HTTP/1.0\r\nhost: {address.host}\r\nconnection: close\r\n\r\n"
    try:
        async with asyncio.timeout(seconds):
            tls = address.protocol == "https"
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=tls or None)
            try:
                writer.write(head.encode())
                await writer.drain()
                answer = await _all(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError, UnicodeError):  # the last of a host that no name can be
        return 0, {}
    top, _, body = answer.partition(b"\r\n\r\n")
    word = top.split(b" ", 2)[1:2]
    status = int(word[0]) if word and word[0].isdigit() else 0
    try:
        told = json.loads(body)
    except (ValueError, RecursionError):
        told = None
    return status, told if isinstance(told, dict) else {}


async def _all(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    while len(answer) < _MOST_BYTES and (piece := await reader.read(65_536)):
        answer += piece
    return answer
