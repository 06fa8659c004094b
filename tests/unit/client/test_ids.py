from __future__ import annotations

import re
import threading
from unittest.mock import patch

from qgjob._ids import UlidMaker, encode_ulid, new_job_id, org_of


def test_a_ulid_is_its_time_then_its_randomness() -> None:
    assert encode_ulid(0, 0) == "0" * 26
    assert encode_ulid(2**48 - 1, 2**80 - 1) == "7" + "Z" * 25
    # The example of the ULID specification.
    assert encode_ulid(1_469_918_176_385, 0)[:10] == "01ARYZ6S41"


def test_ids_grow_within_a_millisecond_and_when_the_clock_goes_back() -> None:
    make = UlidMaker()
    with patch("qgjob._ids.time.time_ns", side_effect=[5_000_000, 5_000_000, 4_000_000, 6_000_000]):
        ulids = [make() for _ in range(4)]
    assert ulids == sorted(ulids)
    assert len(set(ulids)) == 4
    assert ulids[2][:10] == ulids[0][:10]


def test_threads_never_share_an_id() -> None:
    made: list[str] = []

    def work() -> None:
        made.extend([new_job_id("acme") for _ in range(500)])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 2000
    assert re.fullmatch(r"acme~[0-7][0-9A-HJKMNP-TV-Z]{25}", made[0])


def test_the_org_is_read_off_a_job_id() -> None:
    assert org_of("acme~01J0") == "acme"
    assert org_of("nonsense") == "nonsense"
