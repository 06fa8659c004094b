"""Which part of Appium's log belongs to an attempt."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from qgjob_agent.runners.appwright import appium_log
from qgjob_agent.runners.appwright.appium_log import AppiumLog, Mark, end_of, own_lines, readable

A = b"""[AppiumDriver@11aa] Calling AppiumDriver.createSession() with {"appium:udid":"emulator-5554"}
[ADB] Running '/sdk/adb -P 5037 -s emulator-5556 shell getprop'
[0a1b2c3d][HTTP] --> POST /session/0a1b2c3d-aaaa/element {"value":"Sign in"}
  and what goes on with it
[9f8e7d6c][HTTP] --> POST /session/9f8e7d6c-bbbb/value {"text":"a password of another"}
  and what goes on with that
[0a1b2c3d][HTTP] <-- POST /session/0a1b2c3d-aaaa/element 200 12 ms - 88
"""


@pytest.fixture
def log(tmp_path: Path) -> AppiumLog:
    (tmp_path / "appium.log").write_bytes(b"before\n")
    return AppiumLog(tmp_path / "appium.log")


def now(log: AppiumLog) -> Mark:
    return Mark.at(log.path.stat())


def say(log: AppiumLog, text: bytes) -> Mark:
    with log.path.open("ab") as file:
        file.write(text)
    return now(log)


def test_a_part_is_what_was_written_between_two_marks(log: AppiumLog) -> None:
    since = now(log)
    until = say(log, b"meanwhile\n")
    say(log, b"after\n")
    assert log.part(since, until) == b"meanwhile\n"
    assert log.part(since, None) == b"meanwhile\nafter\n"
    assert log.part(replace(since, size=(1 << 63) - 1), replace(until, size=(1 << 63) - 1)) == b""


def test_of_a_log_that_was_cut_meanwhile_the_rest_is_taken(log: AppiumLog) -> None:
    since = say(log, b"much\n" * 100)
    log.path.write_bytes(b"")
    assert log.part(since, None) == b""
    until = say(log, b"anew\n")
    assert log.part(since, until) == b"anew\n"


def test_what_another_appium_says_goes_on_and_that_of_two_before_is_gone(log: AppiumLog) -> None:
    since = now(log)
    say(log, b"last words\n")
    log.begin_anew()
    until = say(log, b"first words\n")
    say(log, b"after\n")
    assert log.part(since, until) == b"last words\nfirst words\n"
    other = Mark(since.file + until.file + 1, 0)
    assert log.part(other, None) == b""
    log.path.unlink()
    with pytest.raises(FileNotFoundError):
        log.part(since, None)


def test_a_part_of_the_log_of_a_second_appium_is_had_too(log: AppiumLog, tmp_path: Path) -> None:
    second = AppiumLog(tmp_path / "second.log")
    both = AppiumLog(log.path, second)
    since = say(second, b"before\n")
    until = say(second, b"of the second\n")
    of_first = now(both)
    say(both, b"of the first\n")
    assert both.part(since, until) == b"of the second\n"
    assert both.part(of_first, None) == b"of the first\n"
    second.begin_anew()
    say(second, b"and anew\n")
    assert both.part(since, None) == b"of the second\nand anew\n"


def test_it_begins_anew_where_there_was_none(tmp_path: Path) -> None:
    log = AppiumLog(tmp_path / "appium.log")
    log.begin_anew()
    assert list(tmp_path.iterdir()) == []


def test_only_the_end_of_much_is_read_and_kept_from_a_new_line_on(
    log: AppiumLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    since = now(log)
    say(log, b"0123456789\n" * 100)
    monkeypatch.setattr(appium_log, "_READ_BYTES", 500)
    assert len(log.part(since, None)) == 500
    monkeypatch.setattr(appium_log, "MOST_BYTES", 60)
    assert end_of(b"0123456789\n" * 100) == b"[1045 bytes before this left out]\n" + b"0123456789\n" * 5
    assert end_of(b"0123456789\n" * 5) == b"0123456789\n" * 5


def test_of_a_log_of_several_devices_only_the_own_lines_are_kept() -> None:
    own = own_lines(A, "emulator-5554", ["0a1b2c3d-aaaa"])
    assert own.count(b"\n") == 4
    for foreign in (b"password", b"9f8e7d6c", b"5556", b"goes on with that"):
        assert foreign not in own
    assert b"and what goes on with it" in own
    assert own_lines(A, "emulator-5554", []) == A.splitlines(keepends=True)[0]
    assert own_lines(A, "", []) == b""


def test_lines_with_a_time_before_them_are_told_apart_too() -> None:
    dated = b"".join(b"2026-01-01 10:00:00:000 - " + x for x in A.splitlines(keepends=True) if x.startswith(b"["))
    assert own_lines(dated, "emulator-5554", ["0a1b2c3d-aaaa"]).count(b"\n") == 3


def test_colours_are_left_out() -> None:
    assert readable(b"\x1b[38;5;90m[0a1b2c3d]\x1b[0m\x1b[38;5;12m[HTTP]\x1b[0m --> GET") == b"[0a1b2c3d][HTTP] --> GET"


@pytest.mark.parametrize(
    "told",
    [None, [], [1], [1, 2, 3], ["1", 2], [1, -1], [True, 2], [1, 1 << 70], [1 << 70, 1], [1, 1 << 63], {"file": 1}],
)
def test_a_mark_that_is_none(told: object) -> None:
    assert Mark.of(told) is None
    assert Mark.of([3, 4]) == Mark(3, 4)


@pytest.mark.parametrize(("number", "told"), [(2**60 + 1, 1152921504606847000), (2**64 - 1, 18446744073709552000)])
def test_a_file_is_known_by_a_number_that_javascript_has_not_all_digits_of(number: int, told: int) -> None:
    """As overlays of several disks number theirs."""
    assert Mark.of([told, 4]) == Mark.at(os.stat_result((0o100600, number, 1, 1, 0, 0, 4, 0, 0, 0)))
