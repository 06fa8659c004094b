"""The control port of the stand-in: a JSON object a line, answered by one; for tests and demos in other processes.

`{"do": "plug", "serial": "emulator-5554", …}` (with what is on it, where it was unplugged) · `unplug` · `set` (fields
of the device) · `fault` (see Fault; `times`) · `log` (`line`) · `installs` · `devices` · `stop` · `start` · `restart`.
What programs beside adb do to a device by way of it: `install` (`path`; gives the package manager's answer) ·
`uninstall` and `clear` (`package`; whether it was there). An answer is `{"ok": …}` or `{"error": "…"}`.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import socket
import stat
import sys
from collections.abc import Awaitable, Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fakes.adb_server.device import FakeDevice, Fault

if TYPE_CHECKING:
    from tests.fakes.adb_server.server import FakeAdbServer

_SETTABLE = frozenset(field.name for field in fields(FakeDevice) if field.type in ("str", "bool", "int", "float"))


class ControlPort:
    """Serves one FakeAdbServer's control port; in the same loop."""

    def __init__(self, fake: FakeAdbServer) -> None:
        self._fake = fake
        self.port = 0
        self._away: dict[str, FakeDevice] = {}  # that were unplugged, with what is on them
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ControlPort:
        self._server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while line := await reader.readline():
                try:
                    answer = {"ok": await self._do(json.loads(line))}
                except (KeyError, TypeError, ValueError, OSError) as error:
                    answer = {"error": f"{type(error).__name__}: {error}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # it hung up, or the port is closed
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _do(self, asked: dict[str, Any]) -> Any:
        fake, what = self._fake, asked.pop("do")
        of_server: dict[str, Callable[[], Awaitable[None]]] = {
            "start": fake.start,
            "stop": fake.stop,
            "restart": fake.restart,
        }
        if what in of_server:
            return await of_server[what]()
        if what == "installs":
            return [[*key, count] for key, count in fake.installs.items()]
        if what == "devices":
            return {serial: device.state for serial, device in fake.devices.items()}
        serial = asked.pop("serial")
        if what == "plug":
            device = self._away.pop(serial, None) or FakeDevice(serial)
            _set(device, asked)
            return fake.plug(device)
        if what == "unplug":
            self._away[serial] = fake.devices[serial]
            fake.unplug(serial)
            return None
        device = fake.devices[serial]
        if what == "set":
            _set(device, asked)
            return fake.set_state(serial, device.state)
        if what == "fault":
            times = asked.pop("times", 1)
            device.faults.extend(Fault(**asked) for _ in range(times))
            return None
        if what == "log":
            return await device.log(asked["line"])
        if what == "install":
            data = await asyncio.to_thread(Path(asked["path"]).read_bytes)
            return (await device.install(data, ["-r"], "streamed"))[0].strip()
        if what == "uninstall":
            return device.uninstall(asked["package"])
        if what == "clear":
            return device.clear(asked["package"])
        raise ValueError(f"unknown: {what!r}")


def _set(device: FakeDevice, values: dict[str, Any]) -> None:
    wrong = set(values) - _SETTABLE
    if wrong:
        raise ValueError(f"no fields of a device: {sorted(wrong)}")
    for name, value in values.items():
        setattr(device, name, value)


def tell(port: int, do: str, **values: Any) -> Any:
    """Asks a control port, from any process; blocks. Raises ValueError with its error."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rw") as lines:
        lines.write(json.dumps({"do": do, **values}) + "\n")
        lines.flush()
        answer = json.loads(lines.readline())
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["ok"]


def make_adb(folder: Path, control_port: int) -> Path:
    """Writes an `adb` that is the real one, but for `start-server`: that starts the stand-in on its port."""
    adb = shutil.which("adb")
    assert adb is not None, "needs the program adb"
    start = (
        "import json, socket\n"
        f"with socket.create_connection(('127.0.0.1', {control_port}), timeout=10) as each:\n"
        '    each.sendall(b\'{"do": "start"}\\n\')\n'
        "    raise SystemExit('error' in json.loads(each.makefile().readline()))"
    )
    script = folder / "adb"
    script.write_text(
        "#!/bin/sh\n"
        'case " $* " in\n'
        f'*" start-server "*) exec {shlex.quote(sys.executable)} -SE -c {shlex.quote(start)} ;;\n'
        f'*) exec {shlex.quote(adb)} "$@" ;;\n'
        "esac\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script
