"""The HTTP of the fake Appium: WebDriver's calls, and below /_fake what tests ask and set."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from tests.fakes.appium.asking import check
from tests.fakes.appium.devices import Devices
from tests.fakes.appium.hub import Control, Hub, HubError, Session

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
_SESSION = re.compile(r"/session/([^/]+)(/.*)?")
_ELEMENT = re.compile(r"/element/([^/]+)/(\w+)")
_COMMAND = re.compile(
    r"(GET|DELETE) "
    r"|GET /screenshot"
    r"|POST /elements?"
    r"|GET /element/[^/]+/(displayed|enabled|text)"
    r"|POST /element/[^/]+/click"
    r"|(POST|DELETE) /actions"
    r"|POST /(appium|execute)/.*"
    r"|POST /timeouts"
)
"""Of a session: what is known of it."""
_HEAD_BYTES = 65_536
VERSION = "2.19.0"
_READY = "The server is ready to accept new connections"
_NO_COMMAND = (
    "The requested resource could not be found, or a request was received using an HTTP method that is not supported "
    "by the mapped resource"
)
_NO_ELEMENT = "An element could not be located on the page using the given search parameters."


class Server:
    """A hub on a port. `start` gives the port; 0 asks for a free one.

    `adb_control` is the control port of a stand-in of adb's server: then its devices have the apps, and installations
    are counted there, whoever makes them. `tells`: it prints what it is asked, as Appium 2.19 does.
    """

    def __init__(self, control: Control | None = None, adb_control: int | None = None, *, tells: bool = False) -> None:
        self.hub = Hub(control)
        self._tells = tells
        self._devices = None if adb_control is None else Devices(adb_control)
        self._server: asyncio.Server | None = None
        self._speaking: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> int:
        """Listens on the loopback."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Ends, and all connections with it."""
        assert self._server is not None
        self._server.close()
        for task in list(self._speaking):
            task.cancel()
        await asyncio.gather(*self._speaking, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._speaking.add(task)
        try:
            while head := await _head(reader):
                method, path, length, keep = head
                body = await reader.readexactly(length) if length else b""
                status, kind, data = await self._answered(method, path, body)
                lines = [
                    f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
                    f"content-type: {kind}; charset=utf-8",
                    f"content-length: {len(data)}",
                ]
                writer.write("\r\n".join([*lines, "", ""]).encode() + data)
                await writer.drain()
                if not keep:
                    break
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or this server goes
        finally:
            self._speaking.discard(task)
            writer.close()

    async def _answered(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        """Status, type and content of an answer. What is no JSON does not come as far as the log."""
        try:
            asked = json.loads(body) if body else {}
        except ValueError:
            return 400, "text/html", b"<pre>SyntaxError</pre>"
        if self._tells:
            _tell(method, path, body)
        status, answer = await self._answer(method, path, asked)
        return status, "application/json", json.dumps(answer).encode()

    async def _answer(self, method: str, path: str, asked: dict[str, Any]) -> tuple[int, Any]:
        try:
            if path.startswith("/_fake/"):
                return 200, self._fake(method, path, asked)
            return 200, {"value": await self._webdriver(method, path, asked)}
        except HubError as error:
            value = {"error": error.error, "message": str(error), "stacktrace": ""}
            return error.status, {"value": value, **error.beside}

    def _fake(self, method: str, path: str, asked: dict[str, Any]) -> Any:
        hub = self.hub
        if path == "/_fake/counts":
            return {
                "devices": {udid: asdict(counts) for udid, counts in hub.counts.items()},
                "open": sorted(session.udid for session in hub.sessions.values()),
                "most_at_once": hub.most_at_once,
                "capabilities": hub.capabilities,
            }
        if path == "/_fake/control" and method == "POST":
            for name, value in asked.items():
                if name not in Control.__slots__:
                    raise HubError(400, "invalid argument", f"no control {name}")
                setattr(hub.control, name, value)
            return asdict(hub.control)
        if path == "/_fake/drop" and method == "POST":
            return {"dropped": hub.drop(asked["udid"])}
        raise _unknown()

    async def _webdriver(self, method: str, path: str, asked: dict[str, Any]) -> Any:
        if (method, path) == ("GET", "/status"):
            return {"ready": True, "message": _READY, "build": {"version": VERSION}}
        if path == "/sessions" and method == "GET":
            return [{"id": x.session_id, "capabilities": _told(x.capabilities)} for x in self.hub.sessions.values()]
        if path == "/session" and method == "POST":
            return await self._open(asked)
        match = _SESSION.fullmatch(path)
        if match is None:
            raise _unknown()
        session_id, rest = match[1], match[2] or ""
        if _COMMAND.fullmatch(f"{method} {rest}") is None:
            raise _unknown(sessionId=session_id)
        session = self.hub.session(session_id)
        if rest:
            return await self._command(session, rest, asked)
        if method == "GET":
            return _told(session.capabilities)
        if self._devices is not None:
            await self._devices.leave(session)
        return self.hub.close(session_id)

    async def _open(self, asked: dict[str, Any]) -> dict[str, Any]:
        check(asked, self.hub.control.capabilities)
        session, seconds = self.hub.open(asked)
        try:
            if self._devices is not None:
                await self._devices.prepare(session)
        except HubError:
            del self.hub.sessions[session.session_id]
            raise
        await asyncio.sleep(seconds)
        return {"sessionId": session.session_id, "capabilities": _told(session.capabilities)}

    async def _command(self, session: Session, rest: str, asked: dict[str, Any]) -> Any:
        hub = self.hub
        if rest in ("/elements", "/element"):
            found = hub.find(session, str(asked.get("value", "")))
            if rest == "/elements":
                return found
            if not found:
                raise HubError(404, "no such element", _NO_ELEMENT)
            return found[0]
        if (match := _ELEMENT.fullmatch(rest)) is not None:
            text = hub.text_of(session, match[1])
            if match[2] == "click":
                await asyncio.sleep(hub.click(session, match[1]))
                return None
            return {"displayed": True, "enabled": True, "text": text}.get(match[2])
        return {"/screenshot": _PNG, "/appium/device/get_clipboard": ""}.get(rest)


def _unknown(**beside: Any) -> HubError:
    return HubError(404, "unknown command", _NO_COMMAND, {"status": 9, **beside})


def _told(capabilities: dict[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("appium:"): value for name, value in capabilities.items()}


def _tell(method: str, path: str, body: bytes) -> None:
    session = _SESSION.match(path)
    sign = f"\x1b[38;5;78m[{session[1][:8]}]\x1b[0m" if session else ""
    words = [coloured(37, "-->"), coloured(37, method), coloured(37, path), coloured(90, body.decode() or "{}")]
    print(f"{sign}\x1b[38;5;86m[HTTP]\x1b[0m {' '.join(words)}", flush=True)


def coloured(colour: int, text: str) -> str:
    """As Appium's log has it."""
    return f"\x1b[{colour}m{text}\x1b[39m"


async def _head(reader: asyncio.StreamReader) -> tuple[str, str, int, bool] | None:
    """Method, path, length of the body, and whether the connection stays; None where the client has ended."""
    line = await reader.readline()
    if not line:
        return None
    method, path, _ = line.decode("latin-1").split(" ", 2)
    length, keep = 0, True
    while header := (await reader.readline()).decode("latin-1").strip():
        name, _, value = header.partition(":")
        if name.lower() == "content-length":
            length = int(value)
        elif name.lower() == "connection":
            keep = value.strip().lower() != "close"
    return method, path, length, keep
