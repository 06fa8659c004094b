"""From a command to its exit code: settings, one client, one event loop, errors told in one line."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import math
import os
import signal
import stat
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypedDict

import typer

from qgjob._errors import InvalidError, QgjobError, UnavailableError
from qgjob.cli import exit_codes, options
from qgjob.cli.ci_words import Ci
from qgjob.cli.dotenv import read_environment
from qgjob.cli.guard import Guard, guarding
from qgjob.cli.settings import Setting, Settings, resolve, to_settings, user_file

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

PATIENT_SECONDS = 30.0
# How long a command that waits for verdicts outlives coordinators that are all away; a --timeout takes its place.
OUTAGE_SECONDS = 1800.0
# A second more than a coordinator waits for its store, so that it can say that the store does not answer.
IMPATIENT_SECONDS = 6.0
# With less left nobody is told that it is tried again; with next to nothing the command ends with that error.
TOLD_RETRY_SECONDS = 1.0
NO_RETRY_SECONDS = 0.1
CANCELLING_SIGNALS = 2

Work = Callable[["AsyncClient", "Printer", Settings], Awaitable[int | None]]


class _Patience(TypedDict, total=False):
    """What a command asks of its client; what is not there is the client's own."""

    timeout_seconds: float
    reconnect_seconds: float


def resolve_settings(**flags: Any) -> list[Setting]:
    """The settings of this process. Raises ConfigError."""
    cwd = Path.cwd()
    environment = read_environment(os.environ, cwd)
    return resolve(flags, environment, cwd, user_file(environment))


def process_environment() -> Mapping[str, str]:
    """The variables of this process, for what a CI says in them."""
    return os.environ


def tell_strays(*, bare: bool) -> None:
    """Tell names that look like settings and are none; without the prefix QGJOB_ only if `bare`. Raises ConfigError."""
    from qgjob.cli.setting_names import strays  # noqa: PLC0415 - keeps `--help` quick

    environment = read_environment(os.environ, Path.cwd())
    for each in strays(environment.process, environment.file, environment.path, bare=bare):
        tell(f"warning: {each.line}")


def execute(
    work: Work,
    *,
    output: str | None,
    coordinator: str | None,
    patient: bool = False,
    waits: bool = False,
    streams: bool = False,
    timeout: str | None = None,
    typed: Mapping[str, str] | None = None,
    ci: Ci = Ci.AUTO,
) -> NoReturn:
    """Run `work` with a client and leave with its exit code (None: 0).

    `typed` is what stands on the command line for fields of the call, for errors that name one (`blame.in_options`).

    A `patient` command changes something or waits for something: it outlives the restart of a coordinator. The others
    only look, and soon say so when there is none. The setting timeout_seconds overrules both. One that `waits` and
    was answered before outlives an outage of all coordinators. What one that `streams` is for is its
    output, so it ends with the reader of that. `timeout` is the option of that name: no longer than that is said to be
    tried, and no outage is too long for it. `ci` is the one that is told of it, and reads its output.
    """
    with guarding(Guard.of(ci, process_environment())), reporting():
        settings = to_settings(resolve_settings(output=output, coordinator=coordinator))
        tell_strays(bare=False)
        within_seconds = options.seconds(timeout, "--timeout")
        patience: _Patience = {
            "timeout_seconds": settings.timeout_seconds or (PATIENT_SECONDS if patient else IMPATIENT_SECONDS)
        }
        if waits:
            patience["reconnect_seconds"] = OUTAGE_SECONDS if within_seconds is None else math.inf
        trouble = _TroubleTeller(within_seconds)
        work_done = _run(work, settings, trouble, patience, streams=streams, typed=typed or {})
        raise typer.Exit(asyncio.run(work_done))


@contextlib.contextmanager
def reporting() -> Any:
    """Tell errors in one line on stderr and leave with their exit code."""
    try:
        yield
    except QgjobError as error:
        tell(f"error: {error.message}{error.advice if isinstance(error, UnavailableError) else ''}")
        raise typer.Exit(exit_codes.for_error(error)) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    except BrokenPipeError:
        # Whoever read our output has left; there is nobody to tell.
        discard_output()
        raise typer.Exit(exit_codes.FAILURE) from None


def discard_output() -> None:
    """Let stdout go nowhere from now on, so that what could not be written fails no second time at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def writing() -> Iterator[None]:
    """Writing to stdout. Raises BrokenPipeError when its reader has left, QgjobError when it can't be written."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise QgjobError(f"stdout: can't be written: {error.strerror}") from None


@contextlib.contextmanager
def _while_read() -> Iterator[None]:
    """What is awaited in here ends with BrokenPipeError when the reader of stdout leaves, not at the next output."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    output = _pipe()
    if task is None or output is None:
        yield
        return
    left = False

    def leave() -> None:
        nonlocal left
        left = True
        loop.remove_reader(output)
        task.cancel()

    # There is never anything to read at this end of a pipe: what is told of it is that the other end was closed.
    loop.add_reader(output, leave)
    try:
        yield
    except asyncio.CancelledError:
        if left and task.uncancel() == 0:
            raise BrokenPipeError from None
        raise
    finally:
        loop.remove_reader(output)


def _pipe() -> int | None:
    """The descriptor of stdout, where that is a pipe's end for writing: one open for both is its own reader."""
    try:
        output = sys.stdout.fileno()
    except OSError:
        return None
    only_writes = fcntl.fcntl(output, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY
    return output if only_writes and stat.S_ISFIFO(os.fstat(output).st_mode) else None


def tell(line: str) -> None:
    """A line (or some) on stderr, cleaned of what a terminal would obey."""
    from qgjob.cli.clean import clean  # noqa: PLC0415

    print("\n".join(map(clean, line.splitlines())), file=sys.stderr, flush=True)


async def _run(
    work: Work,
    settings: Settings,
    trouble: Callable[[UnavailableError], None],
    patience: _Patience,
    *,
    streams: bool,
    typed: Mapping[str, str],
) -> int:
    # Here, so that `--help` and usage errors pay neither for gRPC nor for Rich.
    from qgjob._client import AsyncClient  # noqa: PLC0415
    from qgjob.cli.blame import in_options  # noqa: PLC0415
    from qgjob.cli.printer import Printer  # noqa: PLC0415

    client = AsyncClient(settings.coordinator, token=settings.token or "", on_trouble=trouble, **patience)
    with _cancelled_by_signals():
        try:
            printer = Printer(settings.output)
            with _while_read() if streams else contextlib.nullcontext():
                return await work(client, printer, settings) or exit_codes.OK
        except QgjobError as error:
            raise in_options(error, typed) from error
        finally:
            await client.close()


@contextlib.contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM cancel the task of the block, the second one again; a third one ends whatever hangs."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    count = 0

    def interrupt(_number: int, _frame: object) -> None:
        nonlocal count
        count += 1
        if task is None or count > CANCELLING_SIGNALS:
            raise KeyboardInterrupt
        loop.call_soon_threadsafe(task.cancel)

    # Who started this may have had it ignored, as shells do for what runs in the background.
    heard = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) is not signal.SIG_IGN]
    before = [signal.signal(each, interrupt) for each in heard]
    try:
        yield
    finally:
        for each, handler in zip(heard, before, strict=True):
            signal.signal(each, handler)


class _TroubleTeller:
    """Says once that a coordinator is away, and for how long it is asked again, since that takes a while.

    The command itself ends within so many seconds, where that is given.
    """

    def __init__(self, within_seconds: float | None = None) -> None:
        self._told: set[str] = set()
        self._ends_at = None if within_seconds is None else time.monotonic() + within_seconds

    def __call__(self, error: UnavailableError) -> None:
        left = error.retrying_seconds
        if self._ends_at is not None:
            own = max(self._ends_at - time.monotonic(), 0.0)
            left = own if left is None else min(left, own)
        if error.message in self._told or (left is not None and left < NO_RETRY_SECONDS):
            return
        self._told.add(error.message)
        if left is None:
            tell(f"{error.message}; trying again")
        elif left >= TOLD_RETRY_SECONDS:
            tell(f"{error.message}; trying again for up to {left:.0f} s")
        else:
            tell(error.message)


def org_of(flag: str | None, settings: Settings) -> str:
    """The org, by flag or setting. Raises InvalidError."""
    org_id = flag or settings.org_id
    if not org_id:
        raise InvalidError("--org-id: is required (or set QGJOB_ORG_ID, or org_id in qgjob.toml)", field="--org-id")
    return org_id
