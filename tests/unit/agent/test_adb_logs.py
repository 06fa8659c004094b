"""What a device logged: its clock and its zone are its own, and its dates have no year."""

from __future__ import annotations

import pytest

from qgjob_agent.devices.adb.logs import between, clock_of

NOON = 1_767_182_400_000  # 2025-12-31 12:00:00 UTC
LOG = """--------- beginning of main
12-31 11:59:58.000  1  1 I old: before
12-31 12:00:00.500  1  1 E app: inside
  at a stack
12-31 12:00:03.000  1  1 I new: after
"""


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"{NOON // 1000} +0000\n", "12-31 12:00:00.000"),
        (f"{NOON // 1000 + 5} +0000\n", "12-31 12:00:05.000"),
        (f"{NOON // 1000} -0330\n", "12-31 08:30:00.000"),
        (f"{NOON // 1000} +1300\n", "01-01 01:00:00.000"),
    ],
)
def test_a_time_is_told_as_the_device_has_it(said: str, shown: str) -> None:
    assert clock_of(said, NOON).shown(NOON) == shown


def test_a_clock_that_can_not_be_read_is_told() -> None:
    with pytest.raises(ValueError, match="date: inaccessible"):
        clock_of("date: inaccessible or not found", NOON)


def test_the_lines_between_two_times_are_kept_with_what_belongs_to_them() -> None:
    inside = "12-31 12:00:00.500  1  1 E app: inside\n  at a stack\n"
    assert between(LOG, "12-31 12:00:00.000", "12-31 12:00:02.000") == inside
    assert between(LOG, "12-31 12:00:04.000", "12-31 12:00:05.000") == ""
    assert between(LOG, "12-31 12:00:00.000", "01-01 00:00:10.000").startswith(inside)
