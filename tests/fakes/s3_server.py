"""An object store that speaks S3, as a process on a free port: moto's server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import httpx2

from bench.processes import free_port
from tests.fakes.plain_http import NO_TLS
from tests.fakes.waiting import DEADLINE_SECONDS, pause_after

BUCKET = "builds"
KEY, SECRET = "key", "secret"


class S3Server:
    """Buckets in memory. `environ` has what a client of it needs."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._log = folder / "s3.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environ(self) -> Mapping[str, str]:
        """The variables of S3's own tools."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
        }

    def start(self) -> None:
        """Returns when it serves, with an empty bucket."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        begun = time.monotonic()
        while True:
            try:
                if httpx2.put(f"http://127.0.0.1:{self.port}/{BUCKET}", verify=NO_TLS).status_code == 200:
                    return
            except httpx2.TransportError:
                pass
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() - begun < DEADLINE_SECONDS, self._log.read_text()
            time.sleep(pause_after(time.monotonic() - begun))

    def stop(self) -> None:
        """Ends it; what it had is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
