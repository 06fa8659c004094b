"""`--test` with `--suite`: which files it means."""

from __future__ import annotations

import pytest

from qgjob.cli.exit_codes import NO_TESTS, NoTestsError, for_error
from qgjob.cli.globs import expand

PATHS = (
    "a.spec.ts",
    "tests/[id].spec.ts",
    "tests/i.spec.ts",
    "tests/login/lock.spec.ts",
    "tests/login/out.spec.js",
    "tests/util.ts",
)


@pytest.mark.parametrize(
    ("test", "matches"),
    [
        ("a.spec.ts", ["a.spec.ts"]),
        ("./tests/util.ts", ["tests/util.ts"]),
        ("*.spec.ts", ["a.spec.ts"]),
        ("tests/*.ts", ["tests/[id].spec.ts", "tests/i.spec.ts", "tests/util.ts"]),
        ("**/*.spec.ts", ["a.spec.ts", "tests/[id].spec.ts", "tests/i.spec.ts", "tests/login/lock.spec.ts"]),
        ("tests/**", list(PATHS[1:])),
        ("tests/**/*.spec.{ts,js}", list(PATHS[1:5])),
        ("tests/login/{lock,out}.spec.*", ["tests/login/lock.spec.ts", "tests/login/out.spec.js"]),
        ("tests/[id].spec.ts", ["tests/[id].spec.ts"]),  # a file that is there goes first
        ("tests/[!a-h].spec.ts", ["tests/i.spec.ts"]),
        ("tests/?.spec.ts", ["tests/i.spec.ts"]),
        ("tests/log*", None),
        ("*", ["a.spec.ts"]),
        ("tests?util.ts", None),
        ("tests[/]util.ts", None),
        ("tests", None),
        ("tests/lock.spec.ts", None),
        ("{", None),
        ("[", None),
        ("", None),
    ],
)
def test_a_glob_stands_for_files(test: str, matches: list[str] | None) -> None:
    if matches is not None:
        assert expand([test], PATHS, "e2e") == matches
        return
    with pytest.raises(NoTestsError) as raised:
        expand([test], PATHS, "e2e")
    assert for_error(raised.value) == NO_TESTS == 3
    assert raised.value.message.startswith(f"--test: {test!r} ")
    assert "e2e" in raised.value.message


def test_each_file_is_one_job_however_often_it_is_meant() -> None:
    assert expand(["tests/i.spec.ts", "tests/[!i]*.ts", "tests/i.*"], PATHS, "e2e") == [
        "tests/i.spec.ts",
        "tests/[id].spec.ts",
        "tests/util.ts",
    ]


def test_what_may_have_been_meant_is_said() -> None:
    for test, words in (
        ("tests/login/lok.spec.ts", "did you mean tests/login/lock.spec.ts?"),
        ("tests/login", "is a folder of the suite e2e; write tests/login/** for all files in it"),
        ("nothing/*", "matches none of the 6 files of the suite e2e"),
    ):
        with pytest.raises(NoTestsError) as raised:
            expand([test], PATHS, "e2e")
        assert words in raised.value.message
