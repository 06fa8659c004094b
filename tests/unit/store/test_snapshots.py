"""Groups as the store tells them: what is told before a head is made is what the heads say."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.jobs import ANY_DEVICE
from qgjob_coordinator.policy.snapshot import Queue, first_score, known_seconds
from qgjob_coordinator.store.snapshots import decode


def queue_of(*heads: str) -> Queue:
    """The queue of a reply with one group; `heads`: member, score, member, score, ..."""
    row = ["gid", "v1", "emulator", 3, 0, [], "", "", ["", len(heads) // 2, *heads]]
    (group,) = decode("acme", ["0", "", "", "", row], None).groups
    (queue,) = group.queues
    return queue


@pytest.mark.parametrize(
    ("members", "seconds"),
    [
        (["01A 5000", "01B 250!"], [5.0, 0.25]),  # the mark: it failed in its last run
        (["01A", "01B !", "01C 0", "01D 30"], [0.03]),  # of the first three nothing is known
        (["01A"], []),
        ([], []),
    ],
)
def test_scores_and_durations_are_told_as_the_heads_have_them(members: list[str], seconds: list[float]) -> None:
    queue = queue_of(*[text for n, member in enumerate(members) for text in (member, str(7_000 + n))])
    assert known_seconds(queue.heads) == (sum(seconds), len(seconds)) == known_seconds(tuple(queue.heads))
    heads = list(queue.heads)
    assert [h.ulid for h in heads] == [member[:3] for member in members]
    assert first_score(queue) == (heads[0].score if heads else None)
    assert first_score(Queue(ANY_DEVICE, (), 1, heads)) == first_score(queue)
