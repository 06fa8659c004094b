"""What an acknowledgement means in each tier: a disk whose fdatasync takes long shows what waits for it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.store_process import StoreProcess, wait_for

SLOW_SECONDS = 1.5
ATTACHED = "attached"

pytestmark = pytest.mark.skipif(
    shutil.which("strace") is None, reason="delaying fdatasync needs strace: apt install strace"
)


@contextmanager
def slow_disk(process: StoreProcess) -> Iterator[None]:
    """Meanwhile each fdatasync of the store takes SLOW_SECONDS."""
    delay = f"inject=fdatasync:delay_enter={round(SLOW_SECONDS * 1e6)}"
    command = ["strace", "-f", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", delay, "-p", str(process.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        try:
            assert tracer.stderr is not None
            line = tracer.stderr.readline()
            if ATTACHED not in line:
                pytest.skip(f"strace may not attach to the store: {line.strip()}")
            yield
        finally:
            tracer.kill()


def store(folder: Path, fsync: str) -> StoreProcess:
    process = StoreProcess(folder / "store", "--appendonly", "yes", "--appendfsync", fsync)
    process.start()
    return process


def set_seconds(process: StoreProcess, key: str) -> float:
    begun = time.monotonic()
    with process.client() as raw:
        raw.set(key, "1")
    return time.monotonic() - begun


def test_always_acknowledges_after_the_disk_has_it(tmp_path: Path) -> None:
    process = store(tmp_path, "always")
    try:
        with slow_disk(process):
            assert set_seconds(process, "a") >= SLOW_SECONDS
            process.kill()
        process.start()
        with process.client() as raw:
            assert raw.keys() == ["a"]
    finally:
        process.kill()


def test_everysec_acknowledges_before_and_a_killed_process_may_lose_what_it_held_back_for_a_busy_disk(
    tmp_path: Path,
) -> None:
    """While one fdatasync goes on the next writes stay in the process, for up to two seconds: a kill loses them."""
    process = store(tmp_path, "everysec")
    try:
        with slow_disk(process):
            assert set_seconds(process, "a") < SLOW_SECONDS
            with process.client() as raw:
                wait_for(lambda: bool(raw.info("persistence")["aof_pending_bio_fsync"]), "fdatasync under way")
            assert set_seconds(process, "b") < SLOW_SECONDS
            process.kill()
        process.start()
        with process.client() as raw:
            assert raw.keys() == ["a"], "b was acknowledged, and is lost"
    finally:
        process.kill()
