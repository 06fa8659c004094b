"""`--matrix`: what a file may hold, where each error says that it is, and what is submitted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qgjob import InvalidError, Requirements, Target
from qgjob.cli.matrix import MAX_FILE_BYTES, MAX_SETS, read_matrix
from qgjob.cli.requirements import for_all, from_flags
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command

ROOT = Path(__file__).parents[3]


def matrix_file(folder: Path, content: Any, name: str = "m.json") -> str:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return str(path)


def test_the_same_sets_in_json_bare_or_under_a_key_and_in_toml(tmp_path: Path) -> None:
    sets = [{"platform": "android", "os_version": "14"}, {"target": "device", "labels": {"rack": "2"}}]
    bare = read_matrix(matrix_file(tmp_path, sets))
    assert [(each.path, each.requirements, each.target) for each in bare] == [
        ("matrix[0]", Requirements(platform="android", os_version="14"), None),
        ("matrix[1]", Requirements(labels={"rack": "2"}), Target.DEVICE),
    ]
    assert read_matrix(matrix_file(tmp_path, {"matrix": sets})) == bare
    toml = '[[matrix]]\nplatform = "android"\nos_version = "14"\n[[matrix]]\ntarget = "device"\nlabels.rack = "2"\n'
    assert read_matrix(matrix_file(tmp_path, toml, "M.TOML")) == bare


def test_the_example_is_a_matrix() -> None:
    assert len(read_matrix(str(ROOT / "examples" / "matrix.toml"))) == 3


WRONG: list[tuple[Any, str]] = [
    ([{"platform": "android"}, {}, {}], "matrix[1]: restricts nothing"),
    ([{"labels": {}}], "matrix[0]: restricts nothing"),
    ([{"os_version": "13"}, {"os_version": 14}], 'matrix[1].os_version: 14 is not a text; write "14"'),
    ([{"os_version": 14.1}], 'matrix[0].os_version: 14.1 is not a text; write "14.1"'),
    ([{"os_version": True}], "matrix[0].os_version: true is not a text"),
    ([{"os_version": None}], "matrix[0].os_version: null restricts nothing; leave it out"),
    ([{"os_version": ""}], "matrix[0].os_version: is empty"),
    ([{"os_version": "1\n4"}], "matrix[0].os_version: '1\\n4' contains a control character"),
    ([{"device_model": "x" * 129}], "matrix[0].device_model: is 129 characters long; at most 128"),
    ([{"device_model": ["Pixel 8"]}], 'matrix[0].device_model: ["Pixel 8"] is not a text'),
    ([{"device_id": "a b"}], "matrix[0].device_id: 'a b' is not an id"),
    ([{"platform": "windows"}], "matrix[0].platform: 'windows' is unknown; use android or ios"),
    ([{"target": "fridge"}], "matrix[0].target: 'fridge' is unknown; use one of emulator, device, browserstack"),
    ([{"target": 1}], "matrix[0].target: 1 is not a text"),
    ([{"rack": "2"}], "matrix[0].rack: is unknown; use target, platform,"),
    ([{"labels": ["rack"]}], 'matrix[0].labels: ["rack"] is not an object of labels'),
    ([{"labels": {"rack": 2}}], 'matrix[0].labels.rack: 2 is not a text; write "2"'),
    ([{"labels": {"": "2"}}], "matrix[0].labels.: '' is not a label's key"),
    ([{"labels": {"a b": "2"}}], "matrix[0].labels.a b: 'a b' is not a label's key"),
    ([{"Platform": "ios"}], "matrix[0].Platform: is unknown; did you mean platform?"),
    ([{"os-version": "14"}], "matrix[0].os-version: is unknown; did you mean os_version?"),
    ([{"os_version": "14."}], "matrix[0].os_version: '14.' is not a version"),
    ([{"labels": {"OS-Version": "14"}}], "matrix[0].labels.OS-Version: is no label; write os_version beside labels"),
    ([{"labels": {"platform": "ios"}}], "matrix[0].labels.platform: is no label; write platform beside labels"),
    ([{"labels": {"note": "x" * 1025}}], "matrix[0].labels.note: is 1025 characters long"),
    ([{"platform": "ios"}, {"os_version": "1"}, {"platform": "ios", "labels": {}}], "matrix[2]: is the same set as"),
    ([], "matrix: is empty"),
    ([{"device_id": f"d{n}"} for n in range(MAX_SETS + 1)], f"matrix: has {MAX_SETS + 1} sets; give 1 to {MAX_SETS}"),
    (["android"], 'matrix[0]: "android" is not a set of requirements'),
    ("null", "matrix: null is not a list"),
    ({}, "matrix: is missing; the file holds a list of sets of requirements under it"),
    ({"matrix": None}, "matrix: null is not a list"),
    ({"matrix": {"platform": "ios"}}, 'matrix: {"platform": "ios"} is not a list'),
    ({"matrix": [{"platform": "ios"}], "devices": []}, "devices: is unknown"),
    ('[{"platform": "ios", "platform": "ios"}]', "matrix[0].platform: is given twice"),
    ('[{"labels": {"a": "1", "a": "1"}}]', "matrix[0].labels.a: is given twice"),
    ('{"matrix": [], "matrix": []}', "matrix: what is given twice is not a list"),
    ('[{"os_version": NaN}]', "matrix[0].os_version: NaN is not a text"),
    ("[", "is not valid JSON"),
    ("", "is not valid JSON"),
    ("[" * 100_000, "nested too deeply"),
    (" " * (MAX_FILE_BYTES + 1), "is larger than"),
]


@pytest.mark.parametrize(("content", "words"), WRONG, ids=lambda x: x[:30] if isinstance(x, str) else "")
def test_one_error_with_the_files_name_and_the_path_of_the_value(tmp_path: Path, content: Any, words: str) -> None:
    file = matrix_file(tmp_path, content)
    with pytest.raises(InvalidError) as caught:
        read_matrix(file)
    assert caught.value.message.startswith(f"--matrix: {file}: {words}" if words[0] in "md" else f"--matrix: {file}: ")
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("m.yaml", "- platform: ios", "neither in .json nor in .toml"),
        ("m", "[]", "neither in .json nor in .toml"),
        ("m.toml", "[[matrix]]\nos_version = 14\n", 'matrix[0].os_version: 14 is not a text; write "14"'),
        ("m.toml", "[[matrix]]\nos_version = 2026-01-01\n", "is not a text"),
        ("m.toml", "matrix = ", "is not valid TOML"),
    ],
)
def test_files_of_other_formats(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        read_matrix(matrix_file(tmp_path, content, name))
    assert words in caught.value.message


def test_a_file_that_is_not_there_or_no_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidError, match="can't be read: No such file"):
        read_matrix(str(tmp_path / "nope.json"))
    (tmp_path / "m.json").write_bytes(b"\xff\xfe[]")
    with pytest.raises(InvalidError, match="is not valid JSON"):
        read_matrix(str(tmp_path / "m.json"))


def merged(folder: Path, sets: Any, *require: str, device_id: str | None = None, target: str | None = None) -> Any:
    found = for_all(read_matrix(matrix_file(folder, sets)), from_flags(require, device_id), target)
    return [(each.requirements, each.target) for each in found]


def test_what_is_asked_of_all_joins_each_set(tmp_path: Path) -> None:
    sets = [{"platform": "android", "os_version": "14.1"}, {"device_model": "Pixel 8", "labels": {"rack": "2"}}]
    android = {"platform": "android"}
    assert merged(tmp_path, sets, "platform=android", "os_version=14", "floor=1", device_id="d1", target="device") == [
        (Requirements(**android, os_version="14.1", device_id="d1", labels={"floor": "1"}), Target.DEVICE),
        (
            Requirements(
                **android,
                os_version="14",
                device_model="Pixel 8",
                device_id="d1",
                labels={"floor": "1", "rack": "2"},
            ),
            Target.DEVICE,
        ),
    ]


@pytest.mark.parametrize(
    ("sets", "options", "words"),
    [
        (
            [{"platform": "ios"}],
            {"require": ["platform=android"]},
            "matrix[0].platform: 'ios' contradicts",
        ),
        ([{"os_version": "14"}], {"require": ["os_version=1"]}, "matrix[0].os_version: '14' contradicts"),
        (
            [{"labels": {"rack": "2"}}],
            {"require": ["rack=3"]},
            "labels.rack: '2' contradicts --require rack=3,",
        ),
        ([{"device_id": "d1"}], {"device_id": "d2"}, "matrix[0].device_id: 'd1' contradicts --device-id d2"),
        ([{"target": "device"}], {"target": "emulator"}, "matrix[0].target: 'device' contradicts --target emulator"),
        ([{"os_version": "14"}, {"os_version": "14.1"}], {"require": ["os_version=14.1"]}, "matrix[1]: is the same as"),
    ],
)
def test_a_contradiction_names_both_sides(tmp_path: Path, sets: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidError) as caught:
        merged(tmp_path, sets, *options.pop("require", ()), **options)
    assert words in caught.value.message


def test_a_contradiction_names_the_file_and_the_place(fake: FakeCoordinator, qgjob: Command, tmp_path: Path) -> None:
    file = matrix_file(tmp_path, [{"os_version": "13"}, {"platform": "ios"}])
    result = qgjob("submit", *COMMON, "--test=a", f"--matrix={file}", "--require=platform=android")
    assert (result.code, fake.requests) == (2, [])
    assert result.err.startswith(f"error: --matrix: {file}: matrix[1].platform: 'ios' contradicts --require platform=")


def test_each_test_is_submitted_once_for_each_set(fake: FakeCoordinator, qgjob: Command, tmp_path: Path) -> None:
    file = matrix_file(tmp_path, [{"os_version": "14"}, {"target": "device", "labels": {"rack": "2"}}])
    result = qgjob(
        "submit", *COMMON, "--test=a.js", "--test=b.js", f"--matrix={file}", "--require=platform=android",
        "-o", "json",
    )  # fmt: skip
    assert result.code == 0, result.err
    jobs = result.json["jobs"]
    found = [
        (job["test_path"], job["target"], job["requirements"]["os_version"], job["requirements"]["labels"])
        for job in jobs
    ]
    assert found == [
        (path, target, version, labels)
        for path in ("a.js", "b.js")
        for target, version, labels in (("emulator", "14", {}), ("device", None, {"rack": "2"}))
    ]
    assert {job["requirements"]["platform"] for job in jobs} == {"android"}
    assert len(fake.requests) == 1  # one call: all or nothing


def test_the_table_says_which_set_each_job_was_for(fake: FakeCoordinator, qgjob: Command, tmp_path: Path) -> None:
    file = matrix_file(tmp_path, [{"os_version": "14"}, {"platform": "ios", "labels": {"rack": "2"}}])
    table = qgjob("submit", *COMMON, "--test=a.js", f"--matrix={file}").out.splitlines()
    assert "REQUIRES" in table[0]
    assert "os_version=14" in table[1]
    assert "platform=ios, rack=2" in table[2]
    assert "REQUIRES" not in qgjob("submit", *COMMON, "--test=plain.js").out


def test_repetitions_of_each_set(fake: FakeCoordinator, qgjob: Command, tmp_path: Path) -> None:
    file = matrix_file(tmp_path, [{"os_version": "13"}, {"os_version": "14"}])
    jobs = qgjob("submit", *COMMON, "--test=a", f"--matrix={file}", "--repeat=2", "-o", "json").json["jobs"]
    assert [job["requirements"]["os_version"] for job in jobs] == ["13", "13", "14", "14"]
    assert len(fake.jobs) == 4


@pytest.mark.parametrize("command", ["submit", "run"])
def test_a_wrong_matrix_is_wrong_use_and_nothing_is_submitted(
    fake: FakeCoordinator, qgjob: Command, tmp_path: Path, command: str
) -> None:
    file = matrix_file(tmp_path, [{"os_version": "13"}, {"os_version": "13.1"}, {"os_version": 14}])
    result = qgjob(command, *COMMON, "--test=a", f"--matrix={file}")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [f'error: --matrix: {file}: matrix[2].os_version: 14 is not a text; write "14"']
    assert (fake.jobs, fake.requests) == ({}, [])
