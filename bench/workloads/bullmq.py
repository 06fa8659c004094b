"""BullMQ on the same machine in the same run, where Node is present."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from bench.figures import Figure
from bench.processes import MICROSECONDS, ROOT, BenchError, Child
from bench.sizes import BATCH_JOBS, SUBMITTERS, Sizes
from bench.stack import START_SECONDS, wait_until
from bench.store import PrivateStore

SOURCE = ROOT / "bench" / "bullmq"
INSTALLED = ROOT / ".tools" / "bullmq"
INSTALL_SECONDS = 300.0
RUN_SECONDS = 300.0
_POLL_SECONDS = 0.02
_LOCK = "package-lock.json"


def measure(sizes: Sizes) -> dict[str, Figure]:
    """Rates of BullMQ; `{"skipped": why}` where there is no Node."""
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    if missing:
        return {"bullmq": {"skipped": f"{' and '.join(missing)} not found on PATH"}}
    install()
    return {
        "bullmq": {
            "version": _version(),
            **_live(sizes.peer_jobs),
            "add_bulk_per_s": _add("add_bulk", sizes.peer_jobs, BATCH_JOBS),
            "add_200_per_s": _add("add", sizes.peer_jobs, SUBMITTERS),
        }
    }


def install() -> None:
    """Puts the locked packages into .tools/bullmq, unless they are there. Raises BenchError when npm fails."""
    done = INSTALLED / "node_modules" / ".package-lock.json"
    lock = INSTALLED / _LOCK
    if done.exists() and lock.exists() and lock.read_bytes() == (SOURCE / _LOCK).read_bytes():
        return
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", _LOCK):
        shutil.copy(SOURCE / name, INSTALLED / name)
    command = [
        "npm",
        "ci",
        "--ignore-scripts",
        "--no-audit",
        "--no-fund",
        "--silent",
        "--omit-lockfile-registry-resolved",
    ]
    try:
        subprocess.run(command, cwd=INSTALLED, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise BenchError(f"npm could not install BullMQ: {error.stderr or error.stdout}") from error
    except subprocess.TimeoutExpired:
        raise BenchError(f"npm did not install BullMQ within {INSTALL_SECONDS:g} s") from None


def _driver(folder: Path, name: str, *arguments: str) -> Child:
    environ = {"NODE_PATH": str(INSTALLED / "node_modules")}
    return Child(name, ["node", str(SOURCE / "driver.js"), *arguments], folder, environ)


def _version() -> str:
    package = json.loads((INSTALLED / "node_modules" / "bullmq" / "package.json").read_text())
    return str(package["version"])


def _add(mode: str, jobs: int, amount: int) -> float:
    """Jobs added a second, nobody works on them."""
    with PrivateStore() as store, _driver(store.folder, mode, mode, str(store.port), str(jobs), str(amount)) as driver:
        told = json.loads(driver.wait(RUN_SECONDS))
    return float(jobs / (told["ended"] - told["begun"]))


def _live(jobs: int) -> dict[str, Figure]:
    """From the first addBulk to the last completion, with a worker of concurrency 200 beside the producer."""
    with (
        PrivateStore() as store,
        _driver(store.folder, "worker", "worker", str(store.port), str(jobs), str(SUBMITTERS)) as worker,
    ):

        def ready() -> bool:
            worker.check()
            return "ready" in worker.output()

        wait_until("BullMQ's worker is ready", ready, START_SECONDS, _POLL_SECONDS)
        before = store.cpu_seconds()
        with _driver(store.folder, "producer", "add_bulk", str(store.port), str(jobs), str(BATCH_JOBS)) as producer:
            added = json.loads(producer.wait(RUN_SECONDS))
            worked = json.loads(worker.wait(RUN_SECONDS).splitlines()[-1])
        cpu = {"worker": worked["cpu_seconds"], "client": added["cpu_seconds"], "store": store.cpu_seconds() - before}
    return {
        "live_jobs_per_s": jobs / (worked["ended"] - added["begun"]),
        "live_cpu_us_per_job": {name: used * MICROSECONDS / jobs for name, used in cpu.items()},
    }
