"""`python -m tests.images`: carries out what the images of docker/ install, in a folder, and starts what is in it.

There is no engine in it: the RUN lines of the first stage run with the paths of the image turned to that folder's, with
this Python. So what is not tried is the base image, and the RUN lines that follow it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.images.dockerfile import FILES, ROOT, stages

LACKS = {"coordinator": ("psutil", "httpx2"), "agent": ("redis", "fastapi", "obstore")}
"""What an image has no use for, by its name."""
SHIMS_CAN_BE_STARTED = """
import os
from qgjob_agent.runners.appwright.plan import JS
shims = list((JS / "shims").iterdir())
assert {each.name for each in shims} >= {"npx", "osascript", "pkill"}, shims
assert all(os.access(each, os.X_OK) for each in shims), shims
"""
"""What is not, the shell passes over, and AppWright has the host's program of that name."""


def build(file: Path, folder: Path) -> Path:
    """Installs what the first stage installs; gives where."""
    source, installed = folder / "src", folder / "opt" / "qgjob"
    source.mkdir()
    first = stages(file)[0]
    for name in first.copied():
        found = ROOT / name
        if found.is_dir():
            shutil.copytree(found, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, source / name)
    python = shutil.which("python3", path=str(Path(sys.executable).parent)) or sys.executable
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(python)
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environ |= {"PATH": f"{folder / 'bin'}:{environ['PATH']}"}
    for line in first.of("RUN"):
        here = line.replace("/opt/qgjob", str(installed)).replace("/src/", f"{source}/")
        print(f"$ {here}", flush=True)
        subprocess.run(["sh", "-ec", here], cwd=source, env=environ, check=True)
    return installed


def try_out(name: str, installed: Path) -> None:
    """Starts the program of an image, and looks that nothing of the other one is there."""
    environ = {"PATH": f"{installed / 'bin'}:/usr/bin:/bin", "HOME": str(installed), "AGENT_ID": "agent-1"}

    def run(*words: str, fails: bool = False) -> str:
        done = subprocess.run(words, env=environ, cwd=installed, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, (words, done.stdout, done.stderr)
        return done.stdout

    assert run("qgjob", "--version").startswith("qgjob ")
    for module in LACKS[name]:
        run("python", "-c", f"import {module}", fails=True)
    if name == "agent":
        run("python", "-c", SHIMS_CAN_BE_STARTED)
        assert run("qgjob", "agent", "start", "--check").startswith("ok: ")
        (installed / "agent.toml").write_text("")
        unit = run("qgjob", "agent", "install-service", "--config", "agent.toml", "--run-as", "somebody", "--print")
        assert "KillMode=process" in unit
        assert '"check": "client.address"' in run("qgjob", "agent", "doctor", "-o", "json", fails=True)
    else:
        run("python", "-c", "import qgjob_coordinator.app")


def main() -> int:
    """All images."""
    for file in FILES:
        name = file.name.partition(".")[0]
        with tempfile.TemporaryDirectory(prefix=f"qgjob-{name}-") as folder:
            try_out(name, build(file, Path(folder)))
        print(f"{file.name}: what it installs starts")
    return 0


if __name__ == "__main__":
    sys.exit(main())
