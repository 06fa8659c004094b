"""The demo runs as `make demo` runs it: real processes, a real store, the suite's real tests."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
LIMIT_SECONDS = 100


async def test_the_demo_goes_as_expected():
    demo = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "examples.demo",
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            output, _ = await demo.communicate()
    finally:
        if demo.returncode is None:
            demo.terminate()
            await demo.wait()
    said = output.decode()
    assert demo.returncode == 0, said
    assert "All went as expected, and nothing is left running." in said
    assert "SAVE10 then MINUS5 costs 85.00, MINUS5 then SAVE10 85.50" in said
