"""An error names what the person typed: the flag with its value, or the place in the matrix file."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from qgjob import ConflictError, InvalidError, JobSpec, NotFoundError, QgjobError, Requirements, Target
from qgjob.cli.blame import FLAGS, Wanted, in_flags, in_options
from qgjob.cli.requirements import DeviceSet
from qgjob_coordinator.errors import InvalidError as RefusedError
from qgjob_coordinator.service.calls.submission import Defaults, Submission, admit
from tests.fakes.coordinator_services import FakeCoordinator, Fault
from tests.unit.cli.conftest import COMMON, Command
from tests.unit.cli.test_matrix import matrix_file

SPEC = JobSpec(org_id="acme", app_version_id="v1", test_path="a.js")
JOB_ID = "acme~01J00000000000000000000000"
LONG = "x" * 1100
RTL = "\u202e"


def refused(spec: JobSpec, index: int = 0) -> InvalidError:
    """What the coordinator's own rules say to a job of a call."""
    given = {each.name: getattr(spec, each.name) for each in fields(spec)}
    if spec.requirements is not None:
        given["requirements"] = asdict(spec.requirements)
    with pytest.raises(RefusedError) as caught:
        admit(Submission(**given), Defaults(), now=0)
    error = caught.value.under(f"jobs[{index}]")
    return InvalidError(error.message, field=error.field)


def told(error: QgjobError, *wanted: Wanted, **more: Any) -> str:
    return in_flags(error, wanted, **more).message


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"org_id": "a/b"}, "--org-id: 'a/b' is not an id"),
        ({"app_version_id": "v/"}, "--app-version-id: 'v/' is not an id"),
        ({"test_path": "../a.js"}, "--test: '../a.js' contains '..'; name a file inside the suite"),
        ({"test_path": ""}, "--test: is required"),
        ({"run_id": "a/b"}, "--run-id: 'a/b' is not an id"),
        ({"max_retries": -1}, "--max-retries: -1 is out of range; use 0 to 100"),
        ({"queue_timeout_seconds": 0.5}, "--queue-timeout: 0.5 is out of range; use 1 to 604800 (in seconds)"),
        ({"overflow_target": Target.DEVICE}, "--overflow-after: is required with --overflow-target; say how long"),
        ({"overflow_after_seconds": 60}, "--overflow-target: is required with --overflow-after; name the"),
        (
            {"overflow_target": Target.EMULATOR, "overflow_after_seconds": 60},
            "--overflow-target: emulator is the job's target already; name another one",
        ),
        (
            {"overflow_target": Target.DEVICE, "overflow_after_seconds": 0},
            "--overflow-after: 0 is out of range; use 1 to 604800 (in seconds)",
        ),
        (
            {
                "overflow_target": Target.DEVICE,
                "overflow_after_seconds": 60,
                "requirements": Requirements(device_id="d1"),
            },
            "--overflow-target: device can't be where the job is pinned to d1; leave one of them out",
        ),
        ({"timeout_seconds": 9e7}, "--attempt-timeout: 90000000 is out of range; use 1 to 86400 (in seconds)"),
        ({"idempotency_key": "x" * 300}, "--idempotency-key: is 300 characters long"),
        ({"labels": {"a/b": "1"}}, "--label: a/b: 'a/b' is not an id"),
        ({"labels": {"a": LONG}}, "--label: a: is 1100 characters long"),
        ({"labels": {"a.b": LONG}}, "--label: a.b: is 1100 characters long"),
        ({"labels": {f"k{n}": "" for n in range(70)}}, "--label: has 70 entries"),
        ({"env": {"1A": "2"}}, "--env: 1A: '1A' is not a variable's name"),
        ({"env": {"QGJOB_X": "2"}}, "--env: QGJOB_X: is reserved"),
        ({"requirements": Requirements(platform="beos")}, "--require: platform: 'beos' is unknown"),
        ({"requirements": Requirements(device_id="a b")}, "--device-id: 'a b' is not an id"),
        ({"requirements": Requirements(labels={"rack": RTL})}, "--require: rack: '\\u202e' contains a control"),
        ({"requirements": Requirements(labels={"rack": "\u2028"})}, "--require: rack: '\\u2028' contains a control"),
        ({"requirements": Requirements(labels={"a b": "1"})}, "--require: a b: 'a b' is not an id"),
        ({"requirements": Requirements(labels={f"k{n}": "" for n in range(70)})}, "--require: has 70 entries"),
    ],
)
def test_what_the_coordinator_refuses_is_told_in_flags(wrong: dict[str, Any], words: str) -> None:
    spec = replace(SPEC, **wrong)
    error = in_flags(refused(spec), [Wanted(spec)])
    assert error.message.startswith(words)
    assert str(error) == error.message
    assert error.field == words.partition(":")[0] or error.field == "--require"
    assert "jobs[" not in error.message


def test_each_field_that_a_flag_sets_has_its_flag() -> None:
    assert {each.name for each in fields(JobSpec)} - set(FLAGS) == {"job_id", "not_before"}


def test_an_org_from_the_settings_is_no_flag() -> None:
    spec = replace(SPEC, org_id="a/b")
    message = told(refused(spec), Wanted(spec), org_is_flag=False)
    assert message.startswith("org_id of the settings (`qgjob config view --show-origin` tells where it is set): 'a/b'")


def test_of_several_tests_the_one_to_blame_is_named_once() -> None:
    paths = ["a.js", "../b.js", "", "d" * 600]
    wanted = [Wanted(replace(SPEC, test_path=path)) for path in paths]
    said = [told(refused(each.spec, index), *wanted) for index, each in enumerate(wanted) if index]
    assert said == [
        "--test: '../b.js' contains '..'; name a file inside the suite",
        "--test: is required; give the test file's path relative to its suite (test '')",
        f"--test: '{'d' * 76}... is longer than 512 bytes (test '{'d' * 600}')",
    ]


def test_what_is_wrong_for_all_tests_blames_none_of_them() -> None:
    wanted = [Wanted(replace(SPEC, test_path=path, max_retries=-1)) for path in ("a.js", "b.js")]
    assert told(refused(wanted[0].spec), *wanted) == "--max-retries: -1 is out of range; use 0 to 100"


def test_a_key_that_is_too_long_for_one_test_names_it() -> None:
    keys = {"a.js": "k" * 256, "b.js": "k" * 256 + ".2"}
    wanted = [Wanted(replace(SPEC, test_path=path, idempotency_key=key)) for path, key in keys.items()]
    assert told(refused(wanted[1].spec, 1), *wanted).endswith("at most 256 are kept (test 'b.js')")


@pytest.mark.parametrize(
    ("needs", "words"),
    [
        (Requirements(labels={"rack": RTL, "floor": "1"}), "--matrix: m.toml: matrix[1].labels.rack: '\\u202e'"),
        (Requirements(labels={"rack": "2", "floor": RTL}), "--require: floor: '\\u202e'"),
        (Requirements(labels={"rack": "2"}, os_version=RTL), "--matrix: m.toml: matrix[1].os_version: '\\u202e'"),
        (Requirements(labels={"rack": "2"}, device_model=RTL), "--require: device_model: '\\u202e'"),
        (Requirements(labels={"a b": "2"}), "--require: a b: 'a b' is not an id"),
    ],
)
def test_a_value_of_the_matrix_is_found_in_its_file(needs: Requirements, words: str) -> None:
    written = DeviceSet("matrix[1]", Requirements(os_version="14", labels={"rack": "2"}))
    spec = replace(SPEC, requirements=needs)
    wanted = [Wanted(SPEC, "m.toml", DeviceSet("matrix[0]", Requirements())), Wanted(spec, "m.toml", written)]
    assert told(refused(spec, 1), *wanted).startswith(words)


def test_a_target_is_of_the_matrix_or_of_its_flag() -> None:
    error = InvalidError("jobs[0].target: no", field="jobs[0].target")
    assert told(error, Wanted(SPEC)) == "--target: no"
    in_file = Wanted(SPEC, "m.toml", DeviceSet("matrix[0]", Requirements(), Target.DEVICE))
    assert told(error, in_file) == "--matrix: m.toml: matrix[0].target: no"


def test_what_is_no_flag_names_the_test_and_other_errors_stay_as_they_are() -> None:
    wanted = [Wanted(SPEC), Wanted(replace(SPEC, test_path="b.js"))]
    conflict = in_flags(ConflictError("jobs[1].job_id: is taken", field="jobs[1].job_id"), wanted)
    assert (type(conflict), conflict.field, conflict.message) == (
        ConflictError,
        "job_id",
        "job_id: is taken (test 'b.js')",
    )
    for other in (QgjobError("the store is away"), InvalidError("a page is wrong", field="page_token")):
        assert told(other, *wanted) == other.message


@pytest.mark.parametrize("command", ["submit", "run"])
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([*COMMON, "--test=../a.js"], "--test: no `..`"),
        ([*COMMON, "--test=a.js", "--test=../b.js", "--repeat=2"], "--test: no `..` (test '../b.js')"),
        (["--org-id=acme", "--app-version-id=v/", "--test=a.js"], "--app-version-id: not an id"),
        ([*COMMON, "--test=a.js", "--max-retries=99999999999"], "--max-retries: 99999999999 does not fit:"),
    ],
)
def test_the_commands_tell_it_in_one_line_and_submit_nothing(
    fake: FakeCoordinator, qgjob: Command, command: str, arguments: list[str], line: str
) -> None:
    result = qgjob(command, *arguments)
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 1)
    assert result.err.startswith(f"error: {line}")
    assert fake.jobs == {}


@pytest.mark.parametrize(
    ("refusal", "arguments", "line"),
    [
        ("Drain until", ["devices", "drain", "d1", "--for=400d"], "--for: '400d': no"),
        ("Drain until", ["agents", "drain", "a1", "--until=2100-01-01"], "--until: '2100-01-01': no"),
        ("Drain reason", ["devices", "drain", "d1", "--reason=x"], "--reason: no"),
        ("SetDeviceHealth until", ["devices", "maintenance", "d1", "--reason=x", "--for=0s"], "--for: '0s': no"),
        ("SetDeviceHealth until", ["devices", "quarantine", "d1", "--reason=x", "--for=400d"], "--for: '400d': no"),
        ("ReserveDevice until", ["devices", "reserve", "d1", "--for=367d"], "--for: '367d': no"),
        ("ReserveDevice device_id", ["devices", "reserve", "a/b", "--for=1d"], "DEVICE: no"),
        ("Drain agent_id", ["agents", "drain", "a/b"], "AGENT: no"),
        ("ForgetAgent agent_id", ["agents", "forget", "a/b"], "AGENT: no"),
        ("ListDevices agent_id", ["devices", "ls", "--agent-id=a/b"], "--agent-id: no"),
        ("ListJobs page_token", ["list", "--org-id=acme", "--page-token=xx"], "--page-token: no"),
        ("ListJobs org_id", ["list", "--org-id=a/b"], "--org-id: no"),
        ("GetJob job_id", ["status", JOB_ID], "JOB: no"),
        ("ExplainJob job_id", ["explain", JOB_ID], "JOB: no"),
        ("WatchJobs job_ids[0]", ["wait", JOB_ID], "JOB: no"),
        ("WatchJobs job_ids[1]", ["watch", JOB_ID, f"{JOB_ID[:-1]}1"], "JOB: no"),
        ("WatchJobs run_id", ["watch", "--org-id=acme", "--run-id=a/b"], "--run-id: no"),
        ("ListJobs run_id", ["list", "--org-id=acme", "--run-id=a/b"], "--run-id: no"),
    ],
)
def test_other_commands_name_what_was_typed_too(
    fake: FakeCoordinator, qgjob: Command, refusal: str, arguments: list[str], line: str
) -> None:
    method, field = refusal.split()
    fake.in_loop(lambda: fake.add_device("d1", "a1"))
    fake.faults.append(Fault(method, refused=field))
    result = qgjob(*arguments)
    assert (result.code, result.out, result.err) == (2, "", f"error: {line}\n")


def test_what_is_not_typed_keeps_its_name() -> None:
    told = in_options(NotFoundError("device d1 not found", field="device_id"), {"device_id": "DEVICE"})
    assert told.message == "device d1 not found"
    other = InvalidError("health: no", field="health")
    assert in_options(other, {"until": "--until"}) is other


def test_an_org_of_the_environment_is_no_flag_of_a_list(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QGJOB_ORG_ID", "a/b")
    fake.faults.append(Fault("ListJobs", refused="org_id"))
    assert qgjob("list").err.startswith("error: org_id of the settings (`qgjob config view --show-origin`")


def test_an_org_of_the_environment_is_told_as_a_setting(
    fake: FakeCoordinator, qgjob: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QGJOB_ORG_ID", "a/b")
    result = qgjob("submit", "--app-version-id=v1", "--test=a.js")
    assert (result.code, fake.jobs) == (2, {})
    assert result.err.startswith("error: org_id of the settings (`qgjob config view --show-origin`")


def test_each_job_of_a_matrix_knows_its_test_and_its_set(fake: FakeCoordinator, qgjob: Command, tmp_path: Path) -> None:
    file = matrix_file(tmp_path, [{"os_version": "13"}, {"os_version": "14", "labels": {"rack": RTL}}])
    arguments = [*COMMON, "--test=a.js", "--test=b.js", f"--matrix={file}", "--repeat=2", "--require=platform=ios"]
    result = qgjob("submit", *arguments)
    assert result.err == f"error: --matrix: {file}: matrix[1].labels.rack: contains a control character\n"
    assert (result.code, fake.jobs) == (2, {})
