"""What is written of a device that fails faster than others can be asked about it."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.fleet import DeviceInfo
from qgjob_coordinator.policy.health.record import MARKS_MOST, UNASKED_MOST, Kind, Mark, Record
from qgjob_coordinator.service.agents.health.books import HealthBooks
from qgjob_coordinator.store.fleet import DeviceRow
from qgjob_coordinator.store.health import encode

LONGEST_ID = "o" * 128
QUESTIONS = UNASKED_MOST


def failing(count: int = QUESTIONS) -> HealthBooks:
    """A device that has failed so many jobs by its own error, and as many tests, and nobody was asked yet."""
    books = HealthBooks({})
    info = DeviceInfo("d1", "udid", Target.EMULATOR)
    books.know([DeviceRow(info, "agent-1", True, None, 0, 0, None, (), {})])
    for n in range(count):
        for kind in (Kind.DEVICE, Kind.TEST):
            books.note("d1", Mark(kind, (LONGEST_ID, "eAAAAAAAAAAAA"), f"{n:026d}", n, sure=False), n)
    return books


def record(books: HealthBooks) -> Record:
    page = books.page("d1")
    assert page is not None
    return page.record


def test_what_is_written_is_bounded_and_has_the_first_questions() -> None:
    """Each look at the fleet reads it, so it would read 200 kB of questions."""
    books = failing()
    written = books.sending()["d1"].record
    assert len(encode(written)) < 16_000
    for kind in (Kind.DEVICE, Kind.TEST):
        assert [m.at for m in written.marks if m.kind is kind] == list(range(MARKS_MOST))


def test_what_is_not_written_is_still_asked() -> None:
    books = failing()
    books.sending()
    assert books.written("d1") is not None
    assert sum(not m.sure for m in record(books).marks) == 2 * QUESTIONS


def test_what_more_there_is_to_ask_is_no_reason_to_write_again() -> None:
    books = failing()
    books.sending()
    books.written("d1")
    assert books.sending() == {}
    books.note("d1", Mark(Kind.TEST, ("acme", "eAAAAAAAAAAAA"), "known", QUESTIONS), QUESTIONS)
    (kept,) = books.sending().values()
    assert "known" in [m.ulid for m in kept.record.marks]
