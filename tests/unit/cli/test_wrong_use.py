"""What the parser refuses is told as all other errors are: one line, with the value and what to use."""

from __future__ import annotations

import pytest

from tests.unit.cli.conftest import COMMON, Command


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["submit", "--repeat=0"], "--repeat: 0 is out of range; use 1 to 10000"),
        (["submit", "--repeat=1.5"], "--repeat: '1.5' is not a whole number; use 1 to 10000"),
        (["submit", "--max-retries=x"], "--max-retries: 'x' is not a whole number; use one such as 3"),
        (["submit", "--priority=urgent"], "--priority: 'urgent' is unknown; use one of low, medium, high"),
        (["list", "--page-size=1001"], "--page-size: 1001 is out of range; use 1 to 1000"),
        (["list", "-o", "xml"], "--output: 'xml' is unknown; use one of table, json, jsonl"),
        (
            ["list", "--page-siz=1"],
            "--page-siz: is no option of `qgjob list`; did you mean --page-size or --page-token?",
        ),
        (["list", "--org-id"], "--org-id: needs a value; write --org-id=VALUE"),
        (["list", "x"], "got unexpected extra argument(s) (x); see `qgjob list --help`"),
        (["logs", "a", "--attempt=0"], "--attempt: 0 is out of range; use at least 1"),
        (["up", "--sim-failure-rate=2"], "--sim-failure-rate: 2 is out of range; use 0 to 1"),
        (["up", "--sim-failure-rate=nan"], "--sim-failure-rate: nan is out of range; use 0 to 1"),
        (["up", "--sim-install-seconds=-1"], "--sim-install-seconds: -1 is out of range; use at least 0"),
        (["up", "--sim-seed=x"], "--sim-seed: 'x' is not a whole number; use one such as 3"),
        (["devices", "show"], "DEVICE: is required; see `qgjob devices show --help`"),
        (["sumbit"], "no such command 'sumbit'; did you mean submit or suites?"),
        (["devices", "frob"], "no such command 'frob'; see `qgjob devices --help`"),
        (
            ["--coordinator=lab:50051", "devices", "ls"],
            "--coordinator: is an option of commands; write it behind one, as in `qgjob submit --coordinator=VALUE`",
        ),
        (
            ["-o", "json", "list"],
            "-o: is an option of commands; write it behind one, as in `qgjob submit -o VALUE`",
        ),
        (
            ["devices", "--target=device", "ls"],
            "--target: is an option of commands; write it behind one, as in `qgjob devices ls --target=VALUE`",
        ),
        (
            ["builds", "--replace", "push"],
            "--replace: is an option of commands; write it behind one, as in `qgjob builds push --replace`",
        ),
        (["--frob"], "--frob: is no option of `qgjob`; `qgjob --help` lists those that are"),
    ],
)
def test_wrong_use_is_one_line(qgjob: Command, arguments: list[str], told: str) -> None:
    result = qgjob(*arguments)
    assert (result.code, result.out, result.err) == (2, "", f"error: {told}\n")


def test_numbers_in_range_are_taken(qgjob: Command) -> None:
    nobody = "--coordinator=127.0.0.1:x"
    for command in (["list", "--org-id=a", "--page-size=1000"], ["submit", *COMMON, "--test=a", "--repeat=1"]):
        assert "error: --coordinator: " in qgjob(*command, nobody).err
