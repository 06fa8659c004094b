"""The stand-in of Xcode's programs answers in the shape of recorded answers, and as they do where it matters."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.fakes import packages
from tests.fakes.apple_provider import OTHER, PHONE, SHOP, SIM
from tests.fakes.xcrun import PhoneState, SimulatorState, Xcode

RECORDED = Path(__file__).parents[2] / "fakes" / "xcrun" / "recorded"


def call(xcode: Xcode, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(xcode.program), *words], capture_output=True, text=True, timeout=60, check=False)


def asked(xcode: Xcode, folder: Path, *words: str) -> Any:
    """What devicectl writes."""
    file = folder / "said.json"
    call(xcode, "devicectl", *words, "--timeout", "5", "--quiet", "--json-output", str(file))
    return json.loads(file.read_text("utf-8"))


def shape(said: Any, known: dict[str, Any], path: str = "") -> dict[str, Any]:
    """The kind of each value, by its path; all members of a list count as one, and so do all runtimes and udids."""
    if isinstance(said, dict):
        for name, value in said.items():
            part = "RUNTIME" if "SimRuntime" in name else name
            shape(value, known, f"{path}.{part}")
    elif isinstance(said, list):
        for value in said:
            shape(value, known, f"{path}[]")
    else:
        known.setdefault(path, type(said))
    return known


def test_lists_have_the_shape_of_recorded_ones(tmp_path: Path) -> None:
    gone = SimulatorState(OTHER, state="Shutdown", unavailable="runtime profile not found")
    xcode = Xcode(tmp_path / "xcode", SimulatorState(SIM), gone, PhoneState(PHONE))
    recorded = shape(json.loads((RECORDED / "simctl-list.json").read_text("utf-8")), {})
    assert shape(json.loads(call(xcode, "simctl", "list", "devices", "--json").stdout), {}).items() <= recorded.items()
    recorded = shape(json.loads((RECORDED / "devicectl-list.json").read_text("utf-8")), {})
    assert shape(asked(xcode, tmp_path, "list", "devices"), {}).items() <= recorded.items()
    recorded = shape(json.loads((RECORDED / "devicectl-failed.json").read_text("utf-8")), {})
    failed = asked(xcode, tmp_path, "device", "info", "details", "--device", "nobody")
    assert shape(failed, {}).items() <= recorded.items()


def test_apps_come_and_go_as_on_a_simulator(tmp_path: Path) -> None:
    xcode = Xcode(tmp_path / "xcode", SimulatorState(SIM))
    app = tmp_path / "Example.app"
    packages.write(app / "Info.plist", packages.info_plist("iphonesimulator"))
    absent = call(xcode, "simctl", "get_app_container", SIM, SHOP, "app")
    assert (absent.returncode, "No such file or directory" in absent.stderr) == (2, True)
    places = []
    for _ in range(2):
        assert call(xcode, "simctl", "install", SIM, str(app)).returncode == 0
        places.append(Path(call(xcode, "simctl", "get_app_container", SIM, SHOP, "app").stdout.strip()))
    assert [place.exists() for place in places] == [False, True]  # each installation has a place of its own
    assert call(xcode, "simctl", "uninstall", SIM, SHOP).returncode == 0
    assert not places[1].exists()
    assert "An application bundle was not found" in call(xcode, "simctl", "install", SIM, "/nowhere").stderr
    assert "current state: Booted" in call(xcode, "simctl", "erase", SIM).stderr
    call(xcode, "simctl", "install", SIM, str(app))
    call(xcode, "simctl", "shutdown", SIM)
    assert "current state: Shutdown" in call(xcode, "simctl", "get_app_container", SIM, SHOP, "app").stderr
    assert call(xcode, "simctl", "erase", SIM).returncode == 0
    assert call(xcode, "simctl", "bootstatus", SIM, "-b").returncode == 0
    assert call(xcode, "simctl", "get_app_container", SIM, SHOP, "app").returncode == 2
    assert xcode.installs() == {(SIM, SHOP): 3}
    assert "Invalid device" in call(xcode, "simctl", "boot", OTHER).stderr
    assert "unable to find utility" in call(xcode, "nothing").stderr
