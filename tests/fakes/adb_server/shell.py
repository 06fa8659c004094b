"""The shell of a device of the stand-in: the commands that test tools ask for."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fakes.adb_server.device import FakeDevice

Write = Callable[[str], Awaitable[None]]
Lose = Callable[[], None]
_QUIET = {"am", "input", "monkey", "rm", "settings", "svc", "wm", "log", "mkdir", "chmod", "logcat-cleared"}


class Shell:
    """Runs one command line. `write` takes what it prints; `lose` takes the device away."""

    def __init__(self, device: FakeDevice, write: Write, lose: Lose) -> None:
        self._device = device
        self._write = write
        self._lose = lose

    async def run(self, line: str) -> int:
        """The exit code. Knows `;`, `&&` and `||`, `export` and `exec`."""
        self._device.commands.append(line)
        await asyncio.sleep(self._device.slow.get(line, self._device.answers_seconds))
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        code, words, joint = 0, [], ";"
        for word in [*lexer, ";"]:
            if word not in (";", "&&", "||"):
                words.append(word)
                continue
            if words and (joint == ";" or (joint == "&&") == (code == 0)):
                if words[0] == "exit":
                    return int(words[1]) if len(words) > 1 else code
                code = await self._one([each.replace("$?", str(code)) for each in words])
            words, joint = [], word
        return code

    async def _one(self, words: list[str]) -> int:
        if words[0] == "exec":
            words = words[1:]
        if words[0] == "cmd":
            words = words[1:]
        name, *rest = words
        if name == "export" or name in _QUIET:
            return 0
        if name == "false":
            return 1
        known = {
            "echo": self._echo,
            "true": self._echo_nothing,
            "sleep": self._sleep,
            "cat": self._cat,
            "getprop": self._getprop,
            "dumpsys": self._dumpsys,
            "date": self._date,
            "df": self._df,
            "logcat": self._logcat,
            "pm": self._package,
            "package": self._package,
        }.get(name)
        if known is None:
            await self._write(f"/system/bin/sh: {name}: inaccessible or not found\n")
            return 127
        return await known(rest)

    async def _echo(self, words: list[str]) -> int:
        await self._write(" ".join(words) + "\n")
        return 0

    async def _echo_nothing(self, words: list[str]) -> int:
        del words
        return 0

    async def _sleep(self, words: list[str]) -> int:
        await asyncio.sleep(float(words[0]))
        return 0

    async def _cat(self, words: list[str]) -> int:
        content = self._device.files.get(words[0])
        await self._write(f"cat: {words[0]}: No such file\n" if content is None else content.decode(errors="replace"))
        return int(content is None)

    async def _getprop(self, words: list[str]) -> int:
        props = self._device.props()
        if words:
            await self._write(props.get(words[0], "") + "\n")
        else:
            await self._write("".join(f"[{name}]: [{value}]\n" for name, value in sorted(props.items())))
        return 0

    async def _dumpsys(self, words: list[str]) -> int:
        if words[0] == "package" and not self._device.package_dumps:
            await self._write("*** SERVICE 'package' DUMP TIMEOUT (10000ms) EXPIRED ***\n")
        elif words[:1] == ["battery"]:
            await self._write(self._device.dump_battery())
        elif words[:1] == ["package"] and len(words) == 2:
            await self._write(self._device.dump_package(words[1]))
        else:
            await self._write(f"Can't find service: {' '.join(words)}\n")
        return 0

    async def _df(self, words: list[str]) -> int:
        del words
        await self._write(self._device.dump_df())
        return 0

    async def _date(self, words: list[str]) -> int:
        del words
        await self._write(f"{int(time.time()) + self._device.clock_ahead_seconds} {self._device.zone}\n")
        return 0

    async def _logcat(self, words: list[str]) -> int:
        if "-c" in words:
            self._device.logged.clear()
            return 0
        async for line in self._device.log_lines(follow="-d" not in words):
            await self._write(line + "\n")
        return 0

    async def _package(self, words: list[str]) -> int:
        device = self._device
        if not device.package_manager:
            await self._write("cmd: Can't find service: package\n")
            return 20
        name, *rest = words
        if name == "list":
            wanted = rest[-1] if len(rest) > 1 and not rest[-1].startswith("-") else ""
            await self._write("".join(f"package:{name}\n" for name in sorted(device.packages) if wanted in name))
            return 0
        if name == "path":
            return await self._path(rest[-1])
        if name == "clear":
            return await self._clear(rest[-1])
        if name == "uninstall":
            gone = device.uninstall(rest[-1])
            await self._write("Success\n" if gone else "Failure [DELETE_FAILED_INTERNAL_ERROR]\n")
            return int(not gone)
        if name == "install":
            return await self._install(rest)
        await self._write(f"Unknown command: {name}\n")
        return 255

    async def _path(self, package: str) -> int:
        if package == "android":
            await self._write("package:/system/framework/framework-res.apk\n")
            return 0
        there = self._device.packages.get(package)
        if there is not None:
            await self._write(f"package:{there.code_path}/base.apk\n")
        return int(there is None)

    async def _clear(self, package: str) -> int:
        cleared = self._device.clear(package)
        await self._write("Success\n" if cleared else "Failed\n")
        return int(not cleared)

    async def _install(self, words: list[str]) -> int:
        """Of a file that was pushed."""
        content = self._device.files.get(words[-1])
        if content is None:
            await self._write(f"Error: Unable to open file: {words[-1]}\n")
            return 1
        answer, lost = await self._device.install(content, words, "pushed")
        if lost:
            self._lose()
        await self._write(answer)
        return int(not answer.startswith("Success"))
