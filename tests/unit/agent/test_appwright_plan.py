"""How attempts become runs, and what a run is told."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qgjob_agent.runners.appwright.plan import PLAN_VARIABLE, TestPathError, Tools, environment, split, test_file, words
from tests.fakes.agent_core import assignment
from tests.fakes.unprivileged import open_to_all, unprivileged


def job(token: str, test_path: str, **fields: Any) -> Any:
    made = assignment(token)
    made.test_path = test_path
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def tokens(*jobs: Any, most: int = 8) -> list[list[str]]:
    return [[each.token for each in group] for group in split(list(jobs), most)]


def test_what_one_process_can_carry_out_is_one_group() -> None:
    assert tokens(job("a", "x.spec.ts"), job("b", "y.spec.ts")) == [["a", "b"]]
    assert tokens(*(job(name, f"{name}.ts") for name in "abcde"), most=2) == [["a", "b"], ["c", "d"], ["e"]]
    assert tokens() == []


@pytest.mark.parametrize(
    "other",
    [
        {"test_path": "./x.spec.ts"},
        {"env": {"LANGUAGE": "de"}},
        {"suite_digest": "12"},
        {"build_digest": "34"},
        {"app_version_id": "2"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_can_not_share_a_process_is_split_in_order(other: dict[str, Any]) -> None:
    second = job("b", **({"test_path": "y.spec.ts"} | other))
    groups = tokens(job("a", "x.spec.ts"), second, job("c", "z.spec.ts"))
    assert groups[0] == ["a"]
    assert [token for group in groups for token in group] == ["a", "b", "c"]


def test_a_file_is_named_so_that_no_other_is_meant() -> None:
    file = Path("/suite/tests/a+b (1).spec.ts")
    argv = words(Tools("node", Path("/p"), "c.ts", "android"), [file], Path("/out"))
    assert argv[:3] == ["node", "/p/cli.js", "test"]
    assert re.search(argv[3], str(file))
    assert not any(re.search(argv[3], other) for other in (f"/x{file}", f"{file}x", "/suite/tests/aab (1).spec.ts"))
    assert argv.index("--project") > 3  # before the files AppWright would take one of them for it
    assert argv[argv.index("--project") + 1] == "android"


def test_the_shims_come_first_and_the_preload_only_where_it_fits() -> None:
    inherited = {"PATH": "/usr/bin", "NODE_OPTIONS": "--no-warnings"}
    fast = environment(inherited, Path("/run.json"), fast=True)
    plain = environment(inherited, Path("/run.json"), fast=False)
    assert fast["PATH"].endswith("/js/shims:/usr/bin")
    assert fast["NODE_OPTIONS"].startswith("--no-warnings --require ")
    assert "NODE_OPTIONS" not in plain
    assert plain[PLAN_VARIABLE] == "/run.json"


@pytest.mark.parametrize(
    ("asked", "reached"), [("-f appium", ""), ("-f ^node.*/appium", ""), ("-f gradle", "-f gradle\n")]
)
def test_a_suite_ends_no_appium_by_name(tmp_path: Path, asked: str, reached: str) -> None:
    """That of the agent serves other devices too."""
    system = tmp_path / "pkill"
    system.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/reached\n')
    system.chmod(0o755)
    env = environment({"PATH": f"{tmp_path}:{os.environ['PATH']}"}, Path("/run.json"), fast=False)
    subprocess.run(["/bin/sh", "-c", f"pkill {asked}"], env=env, check=True)
    assert (tmp_path / "reached").exists() is bool(reached)
    assert not reached or (tmp_path / "reached").read_text() == reached


def test_a_test_path_is_a_file_of_the_suite(tmp_path: Path) -> None:
    suite, outside = tmp_path / "suite", tmp_path / "outside.spec.ts"
    suite.mkdir()
    outside.touch()
    (suite / "a.spec.ts").touch()
    (suite / "link.spec.ts").symlink_to(outside)
    (suite / "loop.spec.ts").symlink_to(suite / "loop.spec.ts")
    assert test_file(suite, "a.spec.ts") == suite / "a.spec.ts"
    for path, why in (
        ("gone.spec.ts", "is no file"),
        ("../outside.spec.ts", "outside of the suite"),
        (str(outside), "outside of the suite"),
        ("link.spec.ts", "outside of the suite"),
        (".", "is no file"),
        ("x" * 300, "is no file"),  # which no file can be called
        ("loop.spec.ts", "is no file"),
    ):
        with pytest.raises(TestPathError, match=why):
            test_file(suite, path)


def test_a_test_file_that_this_user_may_not_see_is_told() -> None:
    with open_to_all() as suite:
        (suite / "tests").mkdir()
        (suite / "tests" / "a.spec.ts").touch()
        (suite / "tests").chmod(0o700)
        with unprivileged(), pytest.raises(TestPathError, match="may not be looked at"):
            test_file(suite, "tests/a.spec.ts")
