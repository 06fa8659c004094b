from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scheduling.baselines import POLICIES
from bench.scheduling.compare import simulate
from bench.scheduling.metrics import report
from bench.scheduling.read import TraceError, parse_trace, read_trace, to_json
from bench.scheduling.workloads import generate
from qgjob_coordinator.model.enums import Priority, Target

VALID: dict[str, Any] = {
    "install_seconds": 45,
    "devices": [
        {"device_id": "e1", "target": "emulator", "platform": "android"},
        {"device_id": "e2", "target": "emulator"},
    ],
    "history": [{"org_id": "acme", "test_path": "a.py", "target": "emulator", "seconds": [28.5, 31]}],
    "jobs": [
        {
            "at": n * 2.5,
            "org_id": "acme",
            "app_version_id": "v1",
            "target": "emulator",
            "priority": "high",
            "test_path": "a.py",
            "seconds": 30.0,
        }
        for n in range(4)
    ],
}


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    document = copy.deepcopy(VALID)
    change(document)
    return json.dumps(document)


def put(where: str, value: object) -> str:
    """The valid trace with one value replaced, such as `jobs.3.at`."""

    def change(document: Any) -> None:
        *way, last = [int(part) if part.isdecimal() else part for part in where.split(".")]
        for part in way:
            document = document[part]
        document[last] = value

    return changed(change)


def test_a_valid_trace() -> None:
    trace = parse_trace(json.dumps(VALID))
    assert trace.install_seconds == 45.0
    assert [(d.device_id, d.target, d.platform) for d in trace.devices] == [
        ("e1", Target.EMULATOR, "android"),
        ("e2", Target.EMULATOR, None),
    ]
    assert trace.history == {("acme", "a.py", Target.EMULATOR): (28.5, 31.0)}
    assert [job.at for job in trace.jobs] == [0.0, 2.5, 5.0, 7.5]
    assert trace.jobs[0].priority is Priority.HIGH


def test_platform_and_history_may_be_left_out_or_null() -> None:
    trace = parse_trace(changed(lambda d: d.pop("history")))
    assert trace.history == {}
    assert parse_trace(put("devices.0.platform", None)).devices[0].platform is None


def test_a_trace_reads_as_it_was_written() -> None:
    trace = generate("two_targets", 3)
    assert parse_trace(json.dumps(to_json(trace))) == trace


def test_entries_of_the_same_test_add_up() -> None:
    assert parse_trace(changed(lambda d: d["history"].append(d["history"][0]))).history == {
        ("acme", "a.py", Target.EMULATOR): (28.5, 31.0, 28.5, 31.0)
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (put("jobs.3.seconds", -1), "jobs[3].seconds: -1 is negative; use 0 or more"),
        (put("jobs.0.at", -0.5), "jobs[0].at: -0.5 is negative; use 0 or more"),
        (put("install_seconds", -45), "install_seconds: -45 is negative; use 0 or more"),
        (put("history.0.seconds.1", -2), "history[0].seconds[1]: -2 is negative; use 0 or more"),
        (put("jobs.2.seconds", math.nan), "jobs[2].seconds: NaN is not a finite number; use seconds, such as 12.5"),
        (put("jobs.2.at", math.inf), "jobs[2].at: Infinity is not a finite number; use seconds, such as 12.5"),
        (put("jobs.1.seconds", 1e300), "jobs[1].seconds: 1e+300 is too long; use seconds, at most 1000000000"),
        (put("jobs.1.seconds", "30"), "jobs[1].seconds: '30' is not a number; use seconds, such as 12.5"),
        (put("jobs.1.at", True), "jobs[1].at: true is not a number; use seconds, such as 12.5"),
        (put("jobs.1.at", None), "jobs[1].at: null is not a number; use seconds, such as 12.5"),
        (put("install_seconds", [45]), "install_seconds: a list is not a number; use seconds, such as 12.5"),
        (
            put("devices.1.device_id", "e1"),
            "devices[1].device_id: 'e1' is given twice; give each device an id of its own",
        ),
        (put("devices.0.device_id", 7), "devices[0].device_id: 7 is not a text; use a text"),
        (put("devices.0.device_id", ""), "devices[0].device_id: is empty; give it a text"),
        (
            put("devices.0.target", "phone"),
            "devices[0].target: 'phone' is unknown; use one of emulator, device, browserstack",
        ),
        (put("devices", []), "devices: is empty; add at least one device"),
        (put("jobs", []), "jobs: is empty; add at least one job"),
        (put("devices.0.platform", "symbian"), "devices[0].platform: 'symbian' is unknown; use one of android, ios"),
        (put("devices", {}), "devices: an object is not a list; use a list"),
        (put("devices.0", "e1"), "devices[0]: 'e1' is not an object; use one with the fields device_id, target"),
        (put("jobs.0.priority", "urgent"), "jobs[0].priority: 'urgent' is unknown; use one of high, medium, low"),
        (put("jobs.0.priority", 3), "jobs[0].priority: 3 is unknown; use one of high, medium, low"),
        (
            put("jobs.0.target", ["emulator"]),
            "jobs[0].target: a list is unknown; use one of emulator, device, browserstack",
        ),
        (
            put("jobs.3.target", "device"),
            "jobs[3].target: no device is of target device; add one to devices, or leave the job out",
        ),
        (put("jobs.0.org_id", None), "jobs[0].org_id: null is not a text; use a text"),
        (put("jobs", None), "jobs: null is not a list; use a list"),
        (put("history", {}), "history: an object is not a list; use a list"),
        (put("history.0.seconds", 30), "history[0].seconds: 30 is not a list; use a list"),
        (put("history.0.seconds.0", "x"), "history[0].seconds[0]: 'x' is not a number; use seconds, such as 12.5"),
        (put("seed", 1), "seed: is not a known field; use install_seconds, devices, jobs, history"),
        (
            put("jobs.2.retries", 1),
            f"jobs[2].retries: is not a known field; use {', '.join(VALID['jobs'][0])}",
        ),
        (
            put("devices.0.a b\n", 1),
            r"devices[0].'a b\n': is not a known field; use device_id, target, platform",
        ),
        (changed(lambda d: d.pop("jobs")), "jobs: is missing; add it"),
        (changed(lambda d: d["jobs"][1].pop("at")), "jobs[1].at: is missing; add it"),
        ("[]", "trace: a list is not an object; use one with the fields install_seconds, devices, jobs"),
        (
            '{"jobs": [{"at": 0, "at": 1}], "devices": [], "install_seconds": 1}',
            "devices: is empty; add at least one device",
        ),
        ('{"jobs": [], "jobs": []}', "jobs: is given twice; remove one"),
        ("", "line 1, column 1: is not JSON (Expecting value); correct it"),
        ('{"jobs":\n [}', "line 2, column 3: is not JSON (Expecting value); correct it"),
        ("[" * 100_000, "the trace is nested too deeply; see the format in bench/README.md"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(text: str, message: str) -> None:
    with pytest.raises(TraceError) as caught:
        parse_trace(text)
    assert str(caught.value) == message


def test_an_error_is_one_short_line_whatever_the_value() -> None:
    for value in ("x" * 10_000, "\n\x1b[31m\ud800", 10**400):
        with pytest.raises(TraceError) as caught:
            parse_trace(put("jobs.0.seconds", value))
        message = str(caught.value)
        assert message.isprintable()
        assert message.isascii()
        assert len(message) < 200


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"none\.json: cannot be read \(No such file or directory\)"):
        read_trace(tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"jobs": "\xe9"}')
    with pytest.raises(TraceError, match=r"latin\.json: is not UTF-8 at byte 10; write the trace as UTF-8"):
        read_trace(tmp_path / "latin.json")


def test_a_mark_of_the_byte_order_is_no_part_of_the_trace(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text(json.dumps(VALID), encoding="utf-8-sig")
    assert len(read_trace(tmp_path / "t.json").jobs) == 4


@pytest.mark.parametrize("seconds", [[0], [math.nan], [math.inf], [1e9], [10**400], [], [0, math.nan, 1e9, 30]])
@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_absurd_history_is_taken_and_breaks_no_schedule(seconds: list[float], policy: str) -> None:
    trace = parse_trace(put("history.0.seconds", seconds))
    figures = report(trace, simulate(trace, POLICIES[policy]))
    json.dumps(figures, allow_nan=False)
    assert figures["makespan_seconds"] <= 45 + 45 + 4 * 30


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(
    where=st.sampled_from(
        ["install_seconds", "devices", "devices.0", "devices.0.target", "history.0", "jobs", "jobs.1", "jobs.1.at"]
    ),
    value=_JSON,
)
def test_any_value_anywhere_is_read_or_refused(where: str, value: object) -> None:
    try:
        trace = parse_trace(put(where, value))
    except TraceError as e:
        problem = str(e)
    else:
        problem = ""
        assert trace.devices
    assert not problem or problem.startswith(where.split(".", maxsplit=1)[0])
