"""What people are told of a second target."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import Overflow
from qgjob_coordinator.policy.reasons.overflow import overflow_words

CLOUD, EMULATOR = Target.BROWSERSTACK, Target.EMULATOR


@pytest.mark.parametrize(
    ("overflow", "words"),
    [
        (Overflow(CLOUD, 120_000), "goes to browserstack when its expected wait is longer than 120 s"),
        (
            Overflow(CLOUD, 120_000, None, EMULATOR, 1, 340_400),
            "moved from emulator to browserstack: expected wait 340 s > 120 s",
        ),
        (
            Overflow(CLOUD, 1500, None, EMULATOR, 1, 1600),
            "moved from emulator to browserstack: expected wait 1.6 s > 1.5 s",
        ),
        (
            Overflow(CLOUD, 120_000, None, EMULATOR, 1, None),
            "moved from emulator to browserstack: it had waited for more than 120 s, and no start was to be expected",
        ),
    ],
)
def test_where_it_goes_and_why(overflow: Overflow, words: str) -> None:
    assert overflow_words(overflow) == words
