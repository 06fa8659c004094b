"""The HTTP of the fake BrowserStack: its REST API below /app-automate, its hub below /wd/hub, videos below /files.

Basic authentication is wanted of all but a session's commands and its files, as theirs is.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

from tests.fakes.appium.hub import HubError
from tests.fakes.appium.server import Server as Appium
from tests.fakes.browserstack.account import KEY, USER, Account, Control, RestError

_AUTH = "Basic " + base64.b64encode(f"{USER}:{KEY}".encode()).decode()
_SESSION = re.compile(r"/app-automate/sessions/(\w+)\.json")
_BUILD = re.compile(r"/app-automate/builds/(\w+)/sessions\.json")
_PART = re.compile(rb'name="(\w+)"[^\r]*\r\n(?:[^\r]+\r\n)*\r\n', re.DOTALL)


class BrowserStack:
    """One account on one port of the loopback."""

    def __init__(self, control: Control | None = None) -> None:
        self.account = Account(control)
        self.phones = Appium()
        self.heads: list[str] = []  # method and path of each request
        self.port = 0
        self._server: asyncio.Server | None = None
        self._speaking: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listens."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Ends, and all connections with it."""
        assert self._server is not None
        self._server.close()
        for task in list(self._speaking):
            task.cancel()
        await asyncio.gather(*self._speaking, return_exceptions=True)

    @property
    def url(self) -> str:
        """The base of the REST API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def hub(self) -> str:
        """The hub's address."""
        return f"{self.url}/wd/hub"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._speaking.add(task)
        try:
            while line := await reader.readline():
                method, path, _ = line.decode("latin-1").split(" ", 2)
                headers = await _headers(reader)
                self.heads.append(f"{method} {path}")
                if path == "/app-automate/upload":
                    await asyncio.sleep(self.account.control.upload_seconds)  # a large body takes so long
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if headers.get("transfer-encoding") == "chunked":
                    body = await _chunks(reader)
                if reader.at_eof():
                    return  # broken off: what did not come whole is nothing
                status, extra, data = await self._answer(method, path, headers, body)
                lines = [f"HTTP/1.1 {status} -", f"content-length: {len(data)}", *extra, "", ""]
                writer.write("\r\n".join(lines).encode() + data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or this server goes
        finally:
            self._speaking.discard(task)
            writer.close()

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, list[str], bytes]:
        in_hub = path.startswith("/wd/hub")
        try:
            if path.startswith("/files/"):
                return self._file(path)
            known = headers.get("authorization") == _AUTH or (in_hub and "/session/" in path)
            self.account.check(path, known=known)
            await asyncio.sleep(self.account.control.answer_seconds)
            told = await (self._hub if in_hub else self._rest)(method, path, headers, body)
            return 200, ["content-type: application/json"], json.dumps(told).encode()
        except RestError as error:
            extra = [] if error.retry_after is None else [f"retry-after: {error.retry_after}"]
            if error.plain:
                return error.status, [*extra, "content-type: text/plain; charset=utf-8"], str(error).encode()
            refused = {"value": {"message": str(error), "error": []}, "sessionId": "", "status": 13}
            return error.status, extra, json.dumps(refused if in_hub else {"error": str(error)}).encode()
        except HubError as error:
            return error.status, [], json.dumps({"value": {"error": error.error, "message": str(error)}}).encode()

    def _file(self, path: str) -> tuple[int, list[str], bytes]:
        control = self.account.control
        if path.endswith(".mp4") and control.not_ready > 0:
            control.not_ready -= 1
            return 403, [], b""
        return 200, [], f"the content of {path}".encode()

    async def _rest(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        account = self.account
        if path == "/app-automate/plan.json":
            return account.plan(headers.get("user-agent", ""))
        if path.startswith("/app-automate/recent_apps/"):
            return account.recent(path.rsplit("/", 1)[-1])
        if path == "/app-automate/upload" and method == "POST":
            parts = _multipart(headers, body)
            custom_id = parts.get("custom_id")
            return account.upload(parts["file"], None if custom_id is None else custom_id.decode())
        if path.partition("?")[0] == "/app-automate/builds.json":
            return [{"automation_build": self._build(name)} for name in account.builds()]
        if (match := _BUILD.match(path)) is not None:
            return [
                {"automation_session": self._session("GET", session_id, b"")}
                for session_id, each in account.sessions.items()
                if each.capabilities["bstack:options"].get("buildName", "").encode().hex() == match[1]
            ]
        if (match := _SESSION.fullmatch(path)) is not None:
            return {"automation_session": self._session(method, match[1], body)}
        raise RestError(404, f"no {path}")

    def _build(self, name: str) -> dict[str, Any]:
        build_id = name.encode().hex()
        told = {"name": name, "hashed_id": build_id, "duration": 39, "status": "running", "build_tag": None}
        return told | {"public_url": f"{self.url}/dashboard/{build_id}"}

    def _session(self, method: str, session_id: str, body: bytes) -> dict[str, Any]:
        session = self.account.session(session_id)
        if method == "PUT":
            told = json.loads(body)
            if "name" in told:
                session.capabilities["bstack:options"]["sessionName"] = told["name"]
            if "status" in told:
                session.status, session.reason = told["status"], told.get("reason", "")
                session.marked += 1
        files = f"{self.url}/files/{session_id}"
        options = session.capabilities["bstack:options"]
        return {
            "hashed_id": session_id,
            "name": options.get("sessionName"),
            "build_name": options.get("buildName", ""),
            "project_name": options.get("projectName", ""),
            "status": session.status,
            "reason": session.reason,
            "duration": None if session.status == "running" else 39,
            "os": "android",
            "os_version": "14.0",
            "device": options.get("deviceName"),
            "browser": None,
            "browser_version": "app",
            "logs": f"{files}/logs",
            "browser_url": files,
            "public_url": f"{files}?auth_token=opens-it",
            "browserstack_token": "opens-it",
            "video_url": f"{files}/video.mp4",
            "appium_logs_url": f"{files}/appium.txt",
            "device_logs_url": f"{files}/device.txt",
            "app_details": {"app_name": "app.apk"},
        }

    async def _hub(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Any:
        rest = path.removeprefix("/wd/hub")
        asked = json.loads(body) if body else {}
        if rest == "/session" and method == "POST":
            session = self.account.open(asked["capabilities"]["alwaysMatch"], headers.get("user-agent", ""))
            try:
                told = {"appium:udid": session.session_id}
                phone, _ = self.phones.hub.open({"capabilities": {"alwaysMatch": told}})
                self.phones.hub.sessions[session.session_id] = self.phones.hub.sessions.pop(phone.session_id)
                await asyncio.sleep(self.account.control.session_seconds)
            except HubError:
                self.account.close(session.session_id)
                raise
            if self.account.control.unheard > 0:
                self.account.control.unheard -= 1
                raise ConnectionResetError("the answer is lost")
            capabilities = {"platformName": session.capabilities.get("platformName"), "deviceName": "a phone"}
            return {"value": {"sessionId": session.session_id, "capabilities": capabilities}}
        session_id = rest.split("/")[2]
        session, ends = self.account.sessions.get(session_id), method == "DELETE" and rest.count("/") == 2
        over = session is None or session.status == "error"
        if ends and (over or session_id not in self.phones.hub.sessions):
            raise RestError(500, "Session not started or terminated")
        if session is None or over:
            raise HubError(404, "invalid session id", "A session is either terminated or not started")
        session.commands += 1
        told = await self.phones._webdriver(method, rest, asked)
        if ends:
            self.account.close(session_id)
        return {"value": told}


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    found = {}
    while header := (await reader.readline()).decode("latin-1").strip():
        name, _, value = header.partition(":")
        found[name.lower()] = value.strip()
    return found


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readline()
    return body


def _multipart(headers: dict[str, str], body: bytes) -> dict[str, bytes]:
    boundary = headers["content-type"].partition("boundary=")[2].strip('"').encode()
    parts = {}
    for part in body.split(b"--" + boundary):
        match = _PART.search(part)
        if match is not None:
            parts[match[1].decode()] = part[match.end() : -2]
    return parts
