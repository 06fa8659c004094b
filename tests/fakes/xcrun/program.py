"""What the stand-in does when it is called: `program.py FOLDER simctl|devicectl WORDS`. The standard library only.

The folder holds `state.json` (locked while it is read and changed), one line in `installs.jsonl` for each app that was
installed, one in `calls.jsonl` for each call, and the disks of the simulators. A fault of the state meets the first
call that it fits: of a `verb`, maybe of a `udid`; it may hang, or end with words and a code.
"""
# Modules that only some calls need are imported there: tests make hundreds of calls.
# ruff: noqa: PLC0415

from __future__ import annotations

import contextlib
import fcntl
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NO_SUCH = (
    "An error was encountered processing the command (domain=NSPOSIXErrorDomain, code=2):\n"
    "The operation couldn\u2019t be completed. No such file or directory\nNo such file or directory"
)
WRONG_STATE = (
    "An error was encountered processing the command (domain=com.apple.CoreSimulator.SimError, code=405):\n"
    "Unable to {verb} device in current state: {state}"
)
INVALID = "Invalid device: {udid}"


class Refused(Exception):  # noqa: N818 - how a call ends
    """The call ends so. `error`: as devicectl tells it in JSON."""

    def __init__(self, code: int, words: str, error: dict[str, Any] | None = None) -> None:
        super().__init__(words)
        self.code, self.words, self.error = code, words, error


class State:
    """The folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @contextlib.contextmanager
    def held(self) -> Iterator[dict[str, Any]]:
        """What `state.json` has; what is changed is written."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            path = self.folder / "state.json"
            before = path.read_text("utf-8")
            state = json.loads(before)
            yield state
            after = json.dumps(state)
            if after != before:
                (self.folder / "state.new").write_text(after, "utf-8")
                (self.folder / "state.new").replace(path)

    def note(self, name: str, line: dict[str, Any]) -> None:
        """One more line of a file."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def disk(self, udid: str) -> Path:
        """Of a simulator."""
        return self.folder / "Devices" / udid / "data"


def meet_fault(state: State, verb: str, udid: str) -> None:
    """Ends as the first fault wants that fits."""
    with state.held() as said:
        fault = next(
            (f for f in said["faults"] if f["verb"] == verb and f.get("udid") in (None, udid) and f["times"] > 0), None
        )
        if fault is None:
            return
        fault["times"] -= 1
    if fault.get("hang"):
        state.note("hanging.jsonl", {"verb": verb, "udid": udid})
        while True:
            time.sleep(3600)
    raise Refused(fault.get("code", 1), fault.get("says", ""), fault.get("error"))


# ---- simctl ----


def simctl(state: State, words: list[str]) -> str:
    """Gives what is printed. Raises Refused."""
    import shutil

    verb, *rest = words
    if verb == "io":
        return screenshot(state, *rest)
    udid = "" if verb == "list" else rest[0]
    meet_fault(state, verb, udid)
    if verb == "list":
        with state.held() as said:
            return json.dumps({"devices": listed(state, said["simulators"])}, indent=2)
    with state.held() as said:
        device = said["simulators"].get(udid)
        seconds = dict(said["seconds"])
    if device is None:
        raise Refused(148, INVALID.format(udid=udid))
    if verb == "bootstatus":
        return bootstatus(state, udid, seconds["boot"], boot="-b" in rest)
    if verb == "boot":
        if device["state"] != "Shutdown":
            raise Refused(149, WRONG_STATE.format(verb="boot", state=device["state"]))
        return bootstatus(state, udid, 0, boot=True)
    if verb == "shutdown":
        if device["state"] == "Shutdown":
            raise Refused(149, WRONG_STATE.format(verb="shutdown", state="Shutdown"))
        return change(state, udid, "Shutdown")
    if verb == "erase":
        if device["state"] != "Shutdown":
            raise Refused(149, WRONG_STATE.format(verb="erase", state=device["state"]))
        shutil.rmtree(state.disk(udid), ignore_errors=True)
        state.disk(udid).mkdir(parents=True)
        return change(state, udid, "Shutdown", erased=True)
    if device["state"] != "Booted":
        raise Refused(149, WRONG_STATE.format(verb="lookup", state=device["state"]))
    return of_apps(state, verb, udid, rest[1:], seconds["install"])


def screenshot(state: State, udid: str, verb: str, *words: str) -> str:
    """Of a simulator that runs. Raises Refused."""
    meet_fault(state, verb, udid)
    with state.held() as said:
        device = said["simulators"].get(udid)
    if device is None or device["state"] != "Booted":
        raise Refused(149, WRONG_STATE.format(verb="lookup", state="Shutdown" if device is None else device["state"]))
    Path(words[-1]).write_bytes(b"\x89PNG\r\n\x1a\n" + udid.encode())
    return f"Wrote screenshot to: {words[-1]}\n"


def bootstatus(state: State, udid: str, seconds: float, *, boot: bool) -> str:
    with state.held() as said:
        device = said["simulators"][udid]
        if device["state"] == "Booted" and not device.get("starting"):
            return "Device already booted, nothing to do.\n"
        if boot and device["state"] == "Shutdown":
            device["state"] = "Booting"
    if boot:
        time.sleep(seconds)
        state.disk(udid).mkdir(parents=True, exist_ok=True)
        return change(state, udid, "Booted") + "Finished\n"
    while True:  # as the real one, until somebody boots it
        time.sleep(0.02)
        with state.held() as said:
            device = said["simulators"][udid]
            if device["state"] == "Booted" and not device.get("starting"):
                return "Finished\n"


def change(state: State, udid: str, to: str, *, erased: bool = False) -> str:
    with state.held() as said:
        said["simulators"][udid]["state"] = to
        said["simulators"][udid]["erased"] = said["simulators"][udid].get("erased", 0) + erased
    return ""


def listed(state: State, simulators: dict[str, Any]) -> dict[str, Any]:
    """As `simctl list devices --json` has them."""
    found: dict[str, Any] = {}
    for udid, each in simulators.items():
        shown = {
            "dataPath": str(state.disk(udid)),
            "dataPathSize": 18337792,
            "logPath": str(state.folder / "Logs" / udid),
            "udid": udid,
            "isAvailable": each.get("unavailable") is None,
            "deviceTypeIdentifier": f"com.apple.CoreSimulator.SimDeviceType.{each['type']}",
            "state": each["state"],
            "name": each["name"],
        }
        if each.get("unavailable"):
            shown["availabilityError"] = each["unavailable"]
        found.setdefault(f"com.apple.CoreSimulator.SimRuntime.{each['runtime']}", []).append(shown)
    return found


def of_apps(state: State, verb: str, udid: str, words: list[str], seconds: float) -> str:
    import shutil

    apps = state.disk(udid) / "Containers" / "Bundle" / "Application"
    if verb == "install":
        return install(state, udid, Path(words[0]), apps, seconds)
    package = words[0]
    if verb == "get_app_container" and package == "com.apple.Preferences":
        return "/Library/Developer/CoreSimulator/Runtime/Applications/Preferences.app\n"
    there = app_of(apps, package)
    if verb == "get_app_container":
        if there is None:
            raise Refused(2, NO_SUCH)
        return f"{there}\n"
    if verb == "uninstall":
        if there is not None:
            shutil.rmtree(there.parent)
            state.note("uninstalls.jsonl", {"udid": udid, "package": package})
        return ""
    raise Refused(64, f"Unrecognized subcommand: {verb}")


def app_of(apps: Path, package: str) -> Path | None:
    """Where an app is installed; its package stands beside it, since to read a plist takes longer than all the rest."""
    for beside in apps.glob("*/package"):
        if beside.read_text("utf-8") == package:
            return next(beside.parent.glob("*.app"))
    return None


def install(state: State, udid: str, app: Path, apps: Path, seconds: float) -> str:
    import hashlib
    import plistlib
    import shutil
    import uuid

    state.note("tries.jsonl", {"udid": udid})
    if not (app / "Info.plist").is_file():
        raise Refused(2, f"{NO_SUCH}\nAn application bundle was not found at the provided path.")
    info = plistlib.loads((app / "Info.plist").read_bytes())
    if "CFBundleIdentifier" not in info:
        words = "An error was encountered processing the command (domain=IXErrorDomain, code=13):\nMissing bundle ID."
        raise Refused(204, words)
    time.sleep(seconds)
    old = app_of(apps, info["CFBundleIdentifier"])
    place = apps / str(uuid.uuid4()).upper()
    place.mkdir(parents=True)
    shutil.copytree(app, place / app.name, symlinks=True)
    (place / "package").write_text(info["CFBundleIdentifier"], "utf-8")
    if old is not None:
        shutil.rmtree(old.parent)
    content = hashlib.sha256((app / "Info.plist").read_bytes()).hexdigest()
    state.note("installs.jsonl", {"udid": udid, "package": info["CFBundleIdentifier"], "content": content})
    return ""


# ---- devicectl ----


def devicectl(state: State, words: list[str]) -> dict[str, Any]:
    """Gives the `result` of its JSON. Raises Refused."""
    udid = words[words.index("--device") + 1] if "--device" in words else ""
    verb = words[1] if words[0] != "list" else "list"
    meet_fault(state, f"devicectl {verb}", udid)
    with state.held() as said:
        if verb == "list":
            return {"devices": [_shown(u, each) for u, each in said["phones"].items()]}
        device, seconds = said["phones"].get(udid), said["seconds"]["install"]
    if device is None:
        raise Refused(1, "The specified device was not found.", error(1000, "The specified device was not found."))
    if verb == "info" and words[2] == "details":
        return _shown(udid, device)
    if verb == "info":
        wanted = words[words.index("--bundle-id") + 1]
        return {"apps": [app for package, app in device["apps"].items() if package == wanted]}
    if verb == "uninstall":
        with state.held() as said:
            said["phones"][udid]["apps"].pop(words[-1], None)
        state.note("uninstalls.jsonl", {"udid": udid, "package": words[-1]})
        return {"uninstalledApplications": [{"bundleID": words[-1]}]}
    state.note("tries.jsonl", {"udid": udid})
    return put(state, udid, Path(words[words.index("--device") + 2]), seconds)


def put(state: State, udid: str, ipa: Path, seconds: float) -> dict[str, Any]:
    import hashlib
    import plistlib
    import uuid
    import zipfile

    with zipfile.ZipFile(ipa) as archive:
        name = next(n for n in archive.namelist() if n.startswith("Payload/") and n.count("/") == 2 and "plist" in n)
        data = archive.read(name)
    info = plistlib.loads(data)
    time.sleep(seconds)
    app = f"{name.split('/')[1]}"
    url = f"file:///private/var/containers/Bundle/Application/{str(uuid.uuid4()).upper()}/{app}/"
    package = info["CFBundleIdentifier"]
    said_of_it = {
        "appClip": False,
        "builtByDeveloper": True,
        "bundleIdentifier": package,
        "bundleVersion": info["CFBundleVersion"],
        "defaultApp": False,
        "hidden": False,
        "internalApp": False,
        "name": app.removesuffix(".app"),
        "removable": True,
        "url": url,
        "version": info["CFBundleShortVersionString"],
    }
    with state.held() as said:
        said["phones"][udid]["apps"][package] = said_of_it
    content = hashlib.sha256(data).hexdigest()
    state.note("installs.jsonl", {"udid": udid, "package": package, "content": content})
    return {"deviceIdentifier": udid, "installedApplications": [{"bundleID": package, "installationURL": url}]}


def _shown(udid: str, each: dict[str, Any]) -> dict[str, Any]:
    """As `devicectl list devices` has it."""
    import uuid

    return {
        "capabilities": [
            {"featureIdentifier": "com.apple.coredevice.feature.installapp", "name": "Install Application"}
        ],
        "connectionProperties": {
            "authenticationType": "manualPairing",
            "isMobileDeviceOnly": False,
            "lastConnectionDate": "2026-11-30T09:00:00.000Z",
            "pairingState": each["pairing"],
            "potentialHostnames": [f"{udid}.coredevice.local"],
            "transportType": "wired",
            "tunnelState": each["tunnel"],
            "tunnelTransportProtocol": "tcp",
        },
        "deviceProperties": {
            "bootedFromSnapshot": True,
            "ddiServicesAvailable": each["tunnel"] == "connected",
            "developerModeStatus": each["developer_mode"],
            "hasInternalOSBuild": False,
            "name": each["name"],
            "osBuildUpdate": "21G93",
            "osVersionNumber": each["os_version"],
            "rootFileSystemIsWritable": False,
        },
        "hardwareProperties": {
            "cpuType": {"name": "arm64e", "subType": 2, "type": 16777228},
            "deviceType": "iPhone",
            "marketingName": each["model"],
            "platform": each["platform"],
            "productType": "iPhone14,7",
            "reality": "physical",
            "udid": udid,
        },
        "identifier": str(uuid.uuid5(uuid.NAMESPACE_OID, udid)).upper(),
        "tags": [],
        "visibilityClass": "default",
    }


def error(code: int, text: str) -> dict[str, Any]:
    """As devicectl tells of a failure."""
    return {
        "code": code,
        "domain": "com.apple.dt.CoreDeviceError",
        "userInfo": {"NSLocalizedDescription": {"string": text}},
    }


def unknown(tool: str) -> dict[str, Any]:
    raise Refused(72, f'xcrun: error: unable to find utility "{tool}", not a developer tool or in PATH')


def main(folder: Path, words: list[str]) -> int:
    """One call."""
    state = State(folder)
    state.note("calls.jsonl", {"words": words})
    tool, *rest = words
    said: dict[str, Any] = {"info": {"jsonVersion": 2, "outcome": "success", "version": "397.21"}}
    code, output = 0, None
    if "--json-output" in rest:
        at = rest.index("--json-output")
        output = Path(rest[at + 1])
        rest = [word for n, word in enumerate(rest) if n not in (at, at + 1)]
    for flag, size in (("--timeout", 2), ("--quiet", 1)):
        if flag in rest:
            del rest[rest.index(flag) : rest.index(flag) + size]
    try:
        if tool == "simctl":
            sys.stdout.write(simctl(state, rest))
        else:
            said["result"] = devicectl(state, rest) if tool == "devicectl" else unknown(tool)
    except Refused as refused:
        code = refused.code
        said["info"]["outcome"] = "failed"
        said["error"] = refused.error or error(1, refused.words)
        print(refused.words, file=sys.stderr)
    if output is not None:
        output.write_text(json.dumps(said), "utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
