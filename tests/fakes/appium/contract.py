"""What Appium and its stand-in are asked, one like the other, and how their answers are written down.

Of an answer count the status line, the type of its content and the body; of a stack in that, only that there is one.
Ids of sessions and elements, the port and the colours that Appium gives to ids are signs in their place.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx2

from bench.processes import free_port
from tests.fakes.waiting import until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
UDID = "emulator-5554"
APP = "app.xml"
_FIND = {"using": "xpath", "value": '//*[@text="Hello"]'}
_NONE = {"using": "xpath", "value": '//*[@text="Nothing of the kind"]'}
_WANTED = {"platformName": "Fake", "appium:automationName": "Fake", "appium:deviceName": "one", "appium:udid": UDID}
_COLOUR = re.compile(r"(?<=\x1b\[38;5;)\d+(?=m\[)")


class Asked(NamedTuple):
    """A request; `SESSION` and `ELEMENT` in its path are the ones that there are. A text as `body` is sent as it is."""

    method: str
    path: str
    body: Any = None


def _session(**more: Any) -> dict[str, Any]:
    return {"capabilities": {"alwaysMatch": {**_WANTED, **more}, "firstMatch": [{}]}}


def _bare(capabilities: dict[str, Any]) -> dict[str, Any]:
    return {"capabilities": {"alwaysMatch": capabilities, "firstMatch": [{}]}}


TALK = (
    Asked("GET", "/status"),
    Asked("GET", "/sessions"),
    Asked("GET", "/"),
    Asked("PUT", "/status", {}),
    Asked("GET", "/wd/hub/status"),
    Asked("POST", "/session", "{no"),
    Asked("POST", "/session", {}),
    Asked("POST", "/session", {"capabilities": {}}),
    Asked("POST", "/session", _bare({"platformName": "Fake", "udid": UDID})),
    Asked("POST", "/session", _bare({"platformName": "Fake", "appium:udid": UDID})),
    Asked("POST", "/session", _session(**{"appium:noReset": True, "appium:fullReset": True})),
    Asked("GET", "/session/nobody"),
    Asked("DELETE", "/session/nobody"),
    Asked("GET", "/session/nobody/screenshot"),
    Asked("POST", "/session/nobody/element", _FIND),
    Asked("POST", "/session/nobody/nonsense", {}),
    Asked("POST", "/session", _session()),
    Asked("GET", "/sessions"),
    Asked("POST", "/session/SESSION/timeouts", {"implicit": 100}),
    Asked("POST", "/session/SESSION/elements", _NONE),
    Asked("POST", "/session/SESSION/element", _NONE),
    Asked("POST", "/session/SESSION/elements", _FIND),
    Asked("POST", "/session/SESSION/element", _FIND),
    Asked("GET", "/session/SESSION/element/ELEMENT/displayed"),
    Asked("POST", "/session/SESSION/element/ELEMENT/click", {}),
    Asked("GET", "/session/SESSION/element/nothing/text"),
    Asked("POST", "/session/SESSION/nonsense", {}),
    Asked("GET", "/session/SESSION/appium/device/get_clipboard"),
    Asked("DELETE", "/session/SESSION"),
    Asked("DELETE", "/session/SESSION"),
    Asked("GET", "/sessions"),
)


class Running:
    """An Appium as a program: `words` start it, and what it prints is in `log`."""

    def __init__(self, port: int, log: Path, process: asyncio.subprocess.Process) -> None:
        self.port = port
        self.log = log
        self.process = process

    async def ended(self) -> int:
        """Asks it to end; gives its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.process.wait(), 60)


@asynccontextmanager
async def running(words: Sequence[str], environ: Mapping[str, str], folder: Path) -> AsyncIterator[Running]:
    """Starts one on a free port, `words` and `--port`, and waits until it answers."""
    port, log = free_port(), folder / "appium.log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *words, "--address", "127.0.0.1", "--port", str(port),
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environ,
        )  # fmt: skip
    try:
        async with httpx2.AsyncClient() as http:
            await until(lambda: _answers(http, port, process), lambda: f"no Appium: {log.read_text()}")
        yield Running(port, log, process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(http: httpx2.AsyncClient, port: int, process: asyncio.subprocess.Process) -> bool:
    assert process.returncode is None, f"it ended with {process.returncode}"
    try:
        return (await http.get(f"http://127.0.0.1:{port}/status")).is_success
    except httpx2.TransportError:
        return False


class Signs:
    """What stands for what no two Appiums have in common."""

    def __init__(self, port: int, app: Path) -> None:
        self._port = str(port)
        self._app = str(app)
        self.session = "no-session-yet"
        self.element = "no-element-yet"

    def noted(self, text: str) -> str:
        """With the signs."""
        found = text.replace(self._app, APP).replace(self.session, "SESSION").replace(self.session[:8], "SESSION")
        found = found.replace(f"/element/{self.element}/", "/element/ELEMENT/")
        return _COLOUR.sub("#", re.sub(rf"\b{self._port}\b", "PORT", found))

    def body(self, text: str) -> Any:
        """A body as it is noted; text, where it is no JSON."""
        try:
            told = json.loads(text)
        except ValueError:
            return "text that is no JSON"
        return json.loads(self.noted(json.dumps(self._plain(told))))

    def _plain(self, told: Any) -> Any:
        if isinstance(told, list):
            return [self._plain(each) for each in told]
        if not isinstance(told, dict):
            return told
        signs = {"stacktrace": "STACK", ELEMENT: "ELEMENT", "ELEMENT": "ELEMENT"}
        return {name: signs.get(name) or self._plain(value) for name, value in told.items()}


async def played(words: Sequence[str], environ: Mapping[str, str], folder: Path) -> dict[str, Any]:
    """All that is recorded of an Appium that these words start: `answers`, `log`, and how it ends in each case."""
    app = folder / APP
    app.write_text('<app><title>Shop</title><thing id="a" visible="true" text="Hello">Hello</thing></app>')
    async with running(words, environ, folder) as appium:
        signs = Signs(appium.port, app)
        answers = await _talk(appium.port, signs, app)
        taken = await _ended(words, environ, "--address", "127.0.0.1", "--port", str(appium.port))
        asked = await _ended(words, environ, "--nonsense")
        code = await appium.ended()
        log = appium.log.read_text("utf-8")
    return {
        "answers": answers,
        "log": _lines_of(log, signs),
        "port_taken": [taken[0], [signs.noted(line) for line in taken[1] if "Error: listen" in line]],
        "unknown_argument": [asked[0], [line for line in asked[1] if line.strip()]],
        "ended": code,
    }


async def _talk(port: int, signs: Signs, app: Path) -> list[list[Any]]:
    noted = []
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        for method, path, body in TALK:
            data = _sent(body, app)
            place = path.replace("SESSION", signs.session).replace("ELEMENT", signs.element)
            answer = await http.request(method, place, content=data, headers={"content-type": "application/json"})
            _learn(signs, answer)
            line = f"{answer.status_code} {answer.reason_phrase}"
            noted.append([f"{method} {path}", body, line, answer.headers["content-type"], signs.body(answer.text)])
    return noted


def _sent(body: Any, app: Path) -> bytes:
    """A body; a session that is to begin is one with an app."""
    if body is None or isinstance(body, str):
        return (body or "").encode()
    wanted = body.get("capabilities", {}).get("alwaysMatch", {})
    if "appium:deviceName" in wanted:
        body = _bare({**wanted, "appium:app": str(app)})
    return json.dumps(body, separators=(",", ":")).encode()


def _learn(signs: Signs, answer: httpx2.Response) -> None:
    """The session, and the element, that an answer gives."""
    try:
        value = answer.json()["value"]
    except ValueError:
        return
    if isinstance(value, dict):
        signs.session = value.get("sessionId", signs.session)
        signs.element = value.get(ELEMENT, signs.element)


def _lines_of(log: str, signs: Signs) -> list[str]:
    """Those lines of a log that others read: that it listens, and what it is asked, but for whether it is there yet."""
    kept = [line for line in log.splitlines() if "interface listener started" in line or "-->" in line]
    told = [signs.noted(line) for line in kept]
    first = next(n for n, line in enumerate(told) if "/sessions" in line)
    return [line for line in told[:first] if "-->" not in line] + [told[first - 1], *told[first:]]


async def _ended(words: Sequence[str], environ: Mapping[str, str], *more: str) -> tuple[int, list[str]]:
    """The exit code of one that can't run, and what it prints."""
    process = await asyncio.create_subprocess_exec(
        *words, *more, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ
    )
    said, _ = await asyncio.wait_for(process.communicate(), 120)
    assert process.returncode is not None
    return process.returncode, said.decode().splitlines()


def environment(**more: str) -> dict[str, str]:
    """What a program of a recording has of this one's."""
    kept = ("PATH", "HOME", "PYTHONPATH", "APPIUM_HOME")
    return {name: os.environ[name] for name in kept if name in os.environ} | more
