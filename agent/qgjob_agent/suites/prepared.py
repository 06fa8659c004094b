"""A suite's folder, ready to run tests in: fetched, unpacked, its packages installed, each once however many wait."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import time
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.disk_watch import is_of_the_disk
from qgjob_agent.suites.base import SuiteAwayError, SuiteUnresolvedError
from qgjob_agent.suites.packages import Packages, packages_of
from qgjob_agent.suites.unpacking import unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from qgjob_agent.builds.cache import ContentCache
    from qgjob_agent.builds.resolved import Pushed
    from qgjob_agent.core.values import Assignment
    from qgjob_agent.suites.npm import Npm
    from qgjob_agent.suites.shelf import SuiteShelf

FAILED_SECONDS = 30.0
"""So long an installation that failed is not tried again on this host: others that want it are told the same."""
_MARK = ".qgjob-installed"
_NODE_MODULES = "node_modules"


@dataclass(slots=True)
class _Making:
    task: asyncio.Task[Path]
    waiting: int = 0


class Suites:
    """The suites of one agent. `archives` is its own, `shelf` may be that of other agents too."""

    def __init__(self, archives: ContentCache, pushed: Pushed, shelf: SuiteShelf, npm: Npm, log: Any) -> None:
        self._archives = archives
        self._pushed = pushed
        self._shelf = shelf
        self._npm = npm
        self._log = log
        self._making: dict[str, _Making] = {}
        self._failed: dict[str, tuple[float, Exception]] = {}

    def place(self, assignment: Assignment) -> Path | None:
        """Where an assignment's suite is once it is ready; None where it names none."""
        if assignment.suite_digest is None:
            return None
        return self._shelf.path(_name("suite", assignment.org_id, assignment.suite_digest))

    async def ready(self, what: Assignment, seconds: float) -> Path:
        """The folder of an assignment's suite, which stays for so long. Raises SuiteUnresolvedError, SuiteAwayError.

        Several callers share what is done; it ends when the last of them was cancelled.
        """
        name = _name("suite", what.org_id, what.suite_digest or "")
        making = self._making.get(name)
        if making is None:
            task = asyncio.create_task(self._make(name, what, seconds), name="suite")
            making = self._making[name] = _Making(task)
            task.add_done_callback(lambda _: self._made(name, task))
        making.waiting += 1
        try:
            folder = await asyncio.shield(making.task)
            self._use(name, folder, seconds)  # who joined may need it for longer than who began
        finally:
            making.waiting -= 1
            if not making.waiting and not making.task.done():
                self._made(name, making.task)
                making.task.cancel()
        return folder

    def _use(self, name: str, folder: Path, seconds: float) -> None:
        self._shelf.use(name, seconds)
        packages = folder / _NODE_MODULES
        if packages.is_symlink():
            self._shelf.use(packages.resolve().parent.name, seconds)

    async def end_leftovers(self) -> None:
        """Ends installations of an earlier life of this agent that was killed: they would go on beside new ones."""
        left = await self._npm.end_leftovers()
        if left:
            self._log.warning("packages_left", pids=left)

    async def close(self) -> None:
        """Ends what is being made ready."""
        tasks = [each.task for each in self._making.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._archives.close()

    def _made(self, name: str, task: asyncio.Task[Path]) -> None:
        found = self._making.get(name)
        if found is not None and found.task is task:
            del self._making[name]

    async def _make(self, name: str, what: Assignment, seconds: float) -> Path:
        of = f"suite {what.suite_digest} of {what.org_id}"
        try:
            async with self._shelf.held(name):
                folder = self._shelf.find(name, seconds) or await self._unpacked(name, what, seconds)
                await self._install(name, what, folder, seconds)
                return folder
        except (BuildUnresolvedError, SuiteUnresolvedError) as error:
            raise SuiteUnresolvedError(f"{of}: {error}") from error
        except (BuildAwayError, SuiteAwayError) as error:
            raise SuiteAwayError(f"{of}: {error}", host_unfit=error.host_unfit) from error
        except OSError as error:
            folder = self._shelf.folder
            reason = _refusal(error, folder)
            self._log.warning("suite_not_kept", digest=what.suite_digest, folder=str(folder), error=reason)
            raise SuiteAwayError(f"{of}: {reason}") from error

    async def _unpacked(self, name: str, what: Assignment, seconds: float) -> Path:
        digest = what.suite_digest or ""
        await self._shelf.make_room(what.suite_size_bytes)
        source = partial(self._fetched, what.org_id, digest)
        archive = await self._archives.get(digest, what.suite_size_bytes, source, ending=".tar")
        async with self._shelf.draft() as draft:
            made = draft / "suite"
            made.mkdir()
            taken = await unpacked(archive, made)
            folder = await self._shelf.keep(name, made, taken, seconds)
        archive.unlink(missing_ok=True)  # it is here unpacked
        return folder

    async def _fetched(self, org_id: str, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self._pushed(org_id, digest, offset)) as pieces:
                async for piece in pieces:
                    yield piece
        except BuildUnresolvedError as error:
            push = f"push it with `qgjob suites push DIR --org-id={org_id}`, or submit the job again with --suite DIR"
            raise BuildUnresolvedError(f"{error}; {push}") from error

    # ---- packages ----

    async def _install(self, name: str, what: Assignment, folder: Path, seconds: float) -> None:
        packages, node = await asyncio.to_thread(lambda: (packages_of(folder), self._npm.node()))
        if packages is None:
            return
        if packages.files is None:
            mark = folder / _NODE_MODULES / _MARK
            if not await asyncio.to_thread(_says, mark, node):
                await self._once(name, self._npm_ci(folder))
                await asyncio.to_thread(mark.write_text, node, "utf-8")
                self._shelf.note(name, await asyncio.to_thread(_size, folder), seconds)
            return
        shared = _name("packages", what.org_id, f"{packages.key} {node}")
        async with self._shelf.held(shared):
            found = self._shelf.find(shared, seconds)
            if found is None:
                found = await self._once(shared, self._installed(shared, packages, seconds))
        await asyncio.to_thread(_link, folder / _NODE_MODULES, found / _NODE_MODULES)

    async def _installed(self, name: str, packages: Packages, seconds: float) -> Path:
        async with self._shelf.draft() as draft:
            made = draft / "packages"
            (made / _NODE_MODULES).mkdir(parents=True)
            for path, data in (packages.files or {}).items():
                (made / path).write_bytes(data)
            await self._npm_ci(made)
            size = await asyncio.to_thread(_size, made)
            folder = await self._shelf.keep(name, made, size, seconds)
        await self._shelf.make_room(0)
        return folder

    async def _npm_ci(self, folder: Path) -> None:
        begun = time.monotonic()
        await self._npm.ci(folder)
        (folder / _NODE_MODULES).mkdir(exist_ok=True)  # with nothing to install npm makes none
        self._log.info("packages_installed", folder=str(folder), seconds=round(time.monotonic() - begun, 1))

    async def _once(self, name: str, installing: Any) -> Any:
        """Does it, unless it failed a moment ago."""
        until, error = self._failed.pop(name, (0.0, None))
        if error is not None and time.monotonic() < until:
            installing.close()
            self._failed[name] = (until, error)
            raise type(error)(*error.args)
        try:
            return await installing
        except (SuiteAwayError, SuiteUnresolvedError) as failed:
            self._log.warning("packages_not_installed", name=name, error=str(failed))
            self._failed[name] = (time.monotonic() + FAILED_SECONDS, failed)
            raise


def _name(kind: str, org_id: str, key: str) -> str:
    """How a folder is called: each org has its own, since tests may write there."""
    return f"{kind}-{hashlib.sha256(f'{org_id} {key}'.encode()).hexdigest()[:40]}"


def _refusal(error: OSError, folder: Path) -> str:
    """What can't be written, and what to do; `folder` is the cache. What fills a file tells no name of it."""
    why = "the disk refuses" if is_of_the_disk(error) else "can't write"
    named = "" if error.filename is None else f"{error.filename} in "
    advice = "; make room there" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return f"{why} {named}{folder}, which is suites.cache_dir: {error.strerror}{advice}"


def _says(file: Path, text: str) -> bool:
    return file.is_file() and file.read_text("utf-8") == text


def _link(link: Path, target: Path) -> None:
    """Has a suite find its packages. Node looks for what a package needs where it really is."""
    wanted = os.path.relpath(target, link.parent)
    if link.is_symlink() and os.readlink(link) == wanted:  # noqa: PTH115 - the text is compared
        return
    draft = link.with_name(f".{link.name}-{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(wanted)
    draft.replace(link)


def _size(folder: Path) -> int:
    """What a folder takes on the disk, about."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            total += os.lstat(os.path.join(place, name)).st_size + 2048  # noqa: PTH118 - there are many
    return total
