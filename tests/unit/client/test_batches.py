from __future__ import annotations

import pytest

from qgjob import InvalidError, QuotaError
from qgjob._batches import Calls, blamed_index, chunks, for_many, for_single, in_calls
from qgjob_proto.v1.jobs_pb2 import SubmitJobRequest


def cut(sizes: list[int], **limits: int) -> list[list[int]]:
    return [list(part) for part in chunks(sizes, lambda size: size, **limits)]


def test_chunks_keep_within_count_and_bytes_and_in_order() -> None:
    assert cut([1, 1, 1, 1, 1], max_items=2, max_bytes=100) == [[1, 1], [1, 1], [1]]
    assert cut([40, 40, 40], max_items=10, max_bytes=100) == [[40, 40], [40]]
    assert cut([], max_items=2, max_bytes=100) == []


def test_one_item_over_the_limit_goes_alone() -> None:
    assert cut([10, 500, 10], max_items=10, max_bytes=100) == [[10], [500], [10]]


def test_a_run_that_supersedes_is_complete_with_its_last_call() -> None:
    """Of more jobs than a call takes; those of another run, or without a key, are in calls of their own."""
    kinds = [("r1", "main"), ("r2", "other"), ("r3", "")]
    requests = [SubmitJobRequest(org_id="acme", run_id=run, supersede=key) for _ in range(3) for run, key in kinds]
    assert list(in_calls(requests, max_items=2)) == [
        Calls(before=([0, 3],), last=([6],)),
        Calls(before=([1, 4],), last=([7],)),
        Calls(before=(), last=([2, 5], [8])),
    ]
    assert list(in_calls(requests, max_items=9)) == [Calls(before=(), last=([*range(9)],))]


@pytest.mark.parametrize(
    ("field", "index"), [("jobs[3].test_path", 3), ("jobs[12]", 12), ("org_id", None), (None, None), ("jobs", None)]
)
def test_the_job_to_blame_is_read_off_the_field(field: str | None, index: int | None) -> None:
    assert blamed_index(InvalidError("x", field=field)) == index


def test_a_single_submitter_sees_the_field_of_his_own_job() -> None:
    error = for_single(InvalidError("jobs[3].test_path: no `..`", field="jobs[3].test_path"))
    assert (error.field, error.message, str(error)) == ("test_path", "test_path: no `..`", "test_path: no `..`")


def test_a_submitter_of_many_sees_the_index_in_his_own_list() -> None:
    error = for_many(InvalidError("jobs[1].env.A: bad", field="jobs[1].env.A"), [4, 9, 11])
    assert (error.field, error.message) == ("jobs[9].env.A", "jobs[9].env.A: bad")


def test_what_an_error_knows_besides_stays() -> None:
    assert for_single(QuotaError("full", retry_after_seconds=2.5)).retry_after_seconds == 2.5
