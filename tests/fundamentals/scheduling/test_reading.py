"""What a scene says wrongly is refused with its line, the value, and what to write instead."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import Priority, Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, Requirements
from tests.fundamentals.scheduling.scene import SceneError, read

TOP = "A title\n-------\ndevices are what this is about.\n\n"
DEVICES = "installation  45 s\ndevices  d1 d2\n"
JOBS = f"{DEVICES}  d2  os_version=15 sim=esim\njobs\n"
JOB = "  at 0:00  acme  v1  low  a1  60 s"


def test_a_scene_says_who_is_there_and_what_comes() -> None:
    scene = read(
        f"{TOP}installation  45.5 s\n"
        "GROUP_MAX_DEVICES    2\n"
        "MAX_RUNNING_PER_ORG  4\n"
        "ORG_WEIGHTS          acme=2,globex=0.5\n"
        "devices  d1 d2\n"
        "  d1  platform=android os_version=14.1 device_model=Pixel-8 sim=esim rack=a1  "
        "worn 40 installations 1.5 hours\n"
        "  d2  worn 1 installation\n"
        "jobs\n"
        "  at 1:02:03  acme  v1  high  a8-a10  1 2 3.5 s  failed last  expected 60 s  "
        "requires sim=esim rack=a1 os_version=14\n"
        "  at 0:10  globex  v2  low  b1  60 s  requires device_id=d2\n"
        "\n"
        "timeline\n"
        "  anything\n"
    )
    first, second = scene.trace.devices
    assert (first.platform, first.os_version, first.model) == ("android", "14.1", "Pixel-8")
    assert (first.labels, first.installs, first.busy_hours) == ({"sim": "esim", "rack": "a1"}, 40, 1.5)
    assert (second.labels, second.installs, second.busy_hours) == ({}, 1, 0.0)
    assert scene.trace.install_seconds == 45.5
    assert (scene.limits.group_max_devices, scene.quota) == (2, 4)
    assert scene.weights == {"acme": 2.0, "globex": 0.5}
    assert scene.names == ("a8", "a9", "a10", "b1")
    assert scene.failed == {0, 1, 2}
    last_of_a, b1 = scene.trace.jobs[2:]
    assert (last_of_a.at, last_of_a.seconds, last_of_a.priority) == (3723.0, 3.5, Priority.HIGH)
    assert scene.trace.history["acme", "a10", Target.EMULATOR] == (60.0,)
    assert scene.trace.history["globex", "b1", Target.EMULATOR] == (60.0,)
    assert last_of_a.requirements == Requirements(os_version="14", labels=(("rack", "a1"), ("sim", "esim")))
    assert b1.requirements == Requirements(device_id="d2")


def test_nothing_is_limited_or_required_where_nothing_is_said_of_it() -> None:
    scene = read(f"{DEVICES}jobs\n{JOB}\n")
    assert (scene.limits.group_max_devices, scene.quota, scene.weights) == (None, None, {})
    assert scene.trace.jobs[0].requirements is ANY_DEVICE


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f"{TOP}devices  d1\n", "line 5: there was no installation; write"),
        ("installation  soon\n", "line 1: 'soon' is no time of an installation; write"),
        ("installation  -4 s\n", "line 1: '-4 s' is no time of an installation; write"),
        (f"{DEVICES}device  d3\n", "line 3: 'device  d3' is not understood; write"),
        (f"{TOP}{DEVICES}devices  d3\n", "line 7: 'devices  d3' is the second line of devices; keep one"),
        (f"{DEVICES}GROUP_MAX_DEVICES  0\n", "line 3: GROUP_MAX_DEVICES is '0'; use a whole number"),
        (f"{DEVICES}GROUP_MAX_DEVICES\n", "line 3: GROUP_MAX_DEVICES is ''; use a whole number"),
        (f"{DEVICES}MAX_RUNNING_PER_ORG  1.5\n", "line 3: MAX_RUNNING_PER_ORG is '1.5'; use a whole number"),
        (f"{DEVICES}ORG_WEIGHTS  acme=0\n", "line 3: the pair 'acme=0' has the weight '0'; use"),
    ],
)
def test_a_setting_that_is_wrong_is_refused(text: str, problem: str) -> None:
    assert _error(text).startswith(problem)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("  d3  sim=esim", "'d3' is no device; name one of d1 d2"),
        ("  d1  sim", "'sim' is not key=value; write"),
        ("  d1  sim=", "'sim=' is not key=value; write"),
        ("  d1  =esim", "'=esim' is not key=value; write"),
        ("  d1  sim=esim sim=dual", "sim is given twice, as 'esim' and as 'dual'; a device has one"),
        ("  d1  device_id=d7", "device_id is 'd7', but the id of a device is its name; leave it out"),
        ("  d1  worn much", "'much' is no wear; write"),
        ("  d1  worn 4 hours", "'4 hours' is no wear; write"),
        ("  d1  worn -1 installations", "'-1 installations' is no wear; write"),
    ],
)
def test_a_line_that_tells_nothing_of_a_device_is_refused(line: str, problem: str) -> None:
    assert _error(f"{DEVICES}{line}\n").startswith(f"line 3: {problem}")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("  at 0:00 acme v1 soon a1 60 s", "'at 0:00 acme v1 soon a1 60 s' tells no jobs; write"),
        ("  at 0 acme v1 low a1 60 s", "'at 0 acme v1 low a1 60 s' tells no jobs; write"),
        ("  at 0:00 acme v1 low a1 -60 s", "'at 0:00 acme v1 low a1 -60 s' tells no jobs; write"),
        ("  at 0:00 acme v1 low a1-b3 60 s", "'at 0:00 acme v1 low a1-b3 60 s' tells no jobs; write"),
        ("  at 0:00 acme v1 low a1 60 s requires", "'at 0:00 acme v1 low a1 60 s requires' tells no jobs; write"),
        ("  at 0:00 acme v1 low a1-a3 1 2 s", "'at 0:00 acme v1 low a1-a3 1 2 s' has 2 times for 3 jobs; give"),
        ("  at 0:00 acme v1 low a3-a1 1 s", "'at 0:00 acme v1 low a3-a1 1 s' names a1 after a3; write"),
        ("  at 0:00 acme v1 low a1 1.2.3 s", "'1.2.3' is no time; use seconds"),
        ("  at 0:00 acme v1 low a1 1 s  expected 1.2.3 s", "'1.2.3' is no time; use seconds"),
        (f"{JOB}  requires sim", "'sim' is not key=value; write"),
        (f"{JOB}  requires sim=esim sim=dual", "sim is given twice, as 'esim' and as 'dual'; a device has one"),
        (f"{JOB}  requires sim=dual", "no device is what 'sim=dual' requires; change it"),
        (f"{JOB}  requires device_id=d3", "no device is what 'device_id=d3' requires; change it"),
        (f"{JOB}  requires os_version=15 device_id=d1", "no device is what 'os_version=15 device_id=d1' requires"),
    ],
)
def test_a_line_that_tells_no_jobs_is_refused(line: str, problem: str) -> None:
    assert _error(f"{JOBS}{line}\n").startswith(f"line 5: {problem}")


def test_a_job_has_a_name_of_its_own() -> None:
    assert _error(f"{JOBS}{JOB}\n\n{JOB}\n") == "line 7: 'a1' was there before; give each job a name of its own"


def _error(text: str) -> str:
    with pytest.raises(SceneError) as raised:
        read(text)
    return str(raised.value)
