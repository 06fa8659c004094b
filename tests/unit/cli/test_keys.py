"""Idempotency keys of a command's jobs: a job has the same key wherever it stands among others."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from qgjob.cli.keys import MAX_LENGTH
from qgjob.cli.submitting import MAX_REPEAT
from qgjob_coordinator.service.calls.submission import MAX_KEY
from tests.fakes.coordinator_services import FakeCoordinator
from tests.unit.cli.conftest import COMMON, Command


def keys(fake: FakeCoordinator, qgjob: Command, *arguments: str, key: str = "k") -> list[str]:
    """The keys of the jobs that a command submits, in its order."""
    result = qgjob("submit", *COMMON, f"--idempotency-key={key}", *arguments)
    assert result.code == 0, result.err
    return [each.idempotency_key for each in fake.requests[-1][1].jobs]


def test_a_test_in_front_leaves_the_keys_of_the_others(fake: FakeCoordinator, qgjob: Command) -> None:
    a, b = keys(fake, qgjob, "--test=a.js", "--test=b.js")
    assert a != b
    assert keys(fake, qgjob, "--test=b.js") == [b]
    new, *others = keys(fake, qgjob, "--test=new.js", "--test=b.js", "--test=a.js")
    assert others == [b, a]
    assert new not in others


def test_each_set_of_a_matrix_has_its_own_key_in_any_order(
    fake: FakeCoordinator, qgjob: Command, tmp_path: Path
) -> None:
    sets = [
        {"os_version": "13"},
        {"os_version": "13", "target": "device"},
        {"labels": {"floor": "1", "rack": "13"}},
        {"platform": "ios"},
    ]
    found = set()
    for order in itertools.islice(itertools.permutations(range(len(sets))), 0, None, 5):
        file = tmp_path / "m.json"
        file.write_text(json.dumps([sets[i] for i in order]))
        own = keys(fake, qgjob, "--test=a.js", f"--matrix={file}")
        found.add(tuple(key for _, key in sorted(zip(order, own, strict=True))))
    (one_way,) = found
    assert len(set(one_way)) == len(sets)
    assert keys(fake, qgjob, "--test=a.js", "--require=platform=ios") == [one_way[3]]  # it is the same job


def test_repetitions_are_counted(fake: FakeCoordinator, qgjob: Command) -> None:
    (first,) = keys(fake, qgjob, "--test=a.js")
    more = [first, f"{first}.2", f"{first}.3"]
    assert keys(fake, qgjob, "--test=a.js", "--repeat=3") == more
    with_another = keys(fake, qgjob, "--test=b.js", "--test=a.js", "--repeat=3")
    assert with_another[3:] == more
    assert not {*with_another[:3]} & {*more}


def test_what_a_key_must_not_shift_with_is_not_in_it(fake: FakeCoordinator, qgjob: Command) -> None:
    """Another build, or other variables, under one key are a mistake that the coordinator is to see."""
    plain = keys(fake, qgjob, "--test=a.js")
    assert keys(fake, qgjob, "--test=a.js", "--env=A=1", "--run-id=r", "--priority=high") == plain
    assert keys(fake, qgjob, "--test=a.js", key="other") != plain


@pytest.mark.parametrize(
    ("key", "words"),
    [("", "is empty; give a value, or leave it out"), ("k" * (MAX_LENGTH + 1), f"give at most {MAX_LENGTH}")],
)
def test_a_key_that_can_not_be_made_into_others_is_refused(
    fake: FakeCoordinator, qgjob: Command, key: str, words: str
) -> None:
    result = qgjob("submit", *COMMON, "--test=a.js", f"--idempotency-key={key}")
    assert (result.code, fake.requests) == (2, [])
    assert result.err.startswith("error: --idempotency-key: is ")
    assert words in result.err


def test_the_longest_key_fits_with_what_is_added(fake: FakeCoordinator, qgjob: Command) -> None:
    (own,) = keys(fake, qgjob, "--test=a.js", key="k" * MAX_LENGTH)
    assert len(f"{own}.{MAX_REPEAT}") <= MAX_KEY
