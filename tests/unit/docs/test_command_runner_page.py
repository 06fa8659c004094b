"""The first test of docs/command-runner.md, as it stands: its agent.toml, its script, and the command that submits."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from qgjob_agent.config import load_config

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "command-runner.md").read_text(encoding="utf-8")
PART = PAGE.partition("\n## The first test\n")[2].partition("\n## ")[0]
(AGENT_TOML,) = re.findall(r"^```toml\n(.*?)^```$", PART, re.MULTILINE | re.DOTALL)
(RUN_SH,) = re.findall(r"^```sh\n(.*?)^```$", PART, re.MULTILINE | re.DOTALL)


def test_its_agent_has_the_device_that_the_command_asks_for(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(AGENT_TOML)
    config = load_config(file, {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}, tmp_path)
    (device,) = config.device_facts
    assert f"--device-id={device.device_id} --target={device.target.value} " in PART
    assert (config.runner, config.command.argv[:2]) == ("command", ("sh", "run.sh"))


@pytest.mark.parametrize(
    ("name", "code", "kept"), [("good.sh", 0, ["good.sh"]), ("bad.sh", 3, []), ("missing.sh", 2, [])]
)
def test_its_script_tells_the_verdict_and_leaves_a_file(tmp_path: Path, name: str, code: int, kept: list[str]) -> None:
    for file, text in (("run.sh", RUN_SH), ("good.sh", "exit 0\n"), ("bad.sh", "exit 3\n")):
        (tmp_path / file).write_text(text)
    output = tmp_path / "out"
    output.mkdir()
    environ = {"PATH": "/usr/bin:/bin", "QGJOB_UDID": "phone-1", "QGJOB_OUTPUT_DIR": str(output)}
    done = subprocess.run(
        ["sh", "run.sh", name], check=False, cwd=tmp_path, env=environ, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (code, f"{name} on phone-1\n")
    assert [each.name for each in output.iterdir()] == kept
