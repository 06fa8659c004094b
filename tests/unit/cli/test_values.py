"""The reading of option values, and remote text made harmless."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from qgjob import InvalidError
from qgjob.cli.clean import clean, clean_log
from qgjob.cli.options import job_ids, moment, one_job, pairs, seconds

JOB_ID = "acme~01J00000000000000000000000"
NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_pairs() -> None:
    assert pairs(["a=1", "b=x=y", "c="], "--env") == {"a": "1", "b": "x=y", "c": ""}


@pytest.mark.parametrize("wrong", [["a"], ["=1"], [""], ["a=1", "a=2"]])
def test_pairs_that_are_none_name_the_flag(wrong: list[str]) -> None:
    with pytest.raises(InvalidError, match=r"^--label: ") as caught:
        pairs(wrong, "--label")
    assert caught.value.field == "--label"


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1d", 86_400), (None, None)]
)
def test_durations(text: str | None, expected: float | None) -> None:
    assert seconds(text, "--for") == expected


@pytest.mark.parametrize("wrong", ["", "h", "-5", "5 h", "1w", "nan", "1e3"])
def test_durations_that_are_none(wrong: str) -> None:
    with pytest.raises(InvalidError, match=r"^--timeout: "):
        seconds(wrong, "--timeout")


def test_an_end_by_time_or_by_duration() -> None:
    assert moment(None, "2h", NOW) == NOW + timedelta(hours=2)
    assert moment("2026-01-31T18:00Z", None, NOW) == datetime(2026, 1, 31, 18, tzinfo=UTC)
    assert moment("2026-01-31T18:00+02:00", None, NOW) == datetime(2026, 1, 31, 16, tzinfo=UTC)
    assert moment(None, None, NOW) is None
    for until, lasting in (("2026-01-31T18:00Z", "2h"), ("soon", None)):
        with pytest.raises(InvalidError, match=r"^--until: "):
            moment(until, lasting, NOW)


@pytest.mark.parametrize("lasting", ["9999999d", "99999999999999999999d", f"{'9' * 400}h"])
def test_an_end_after_all_times_is_the_last_that_can_be_told(lasting: str) -> None:
    end = moment(None, lasting, NOW)
    assert end is not None
    assert end.isoformat() == "9999-12-31T23:59:59.999000+00:00"


@pytest.mark.parametrize("time", ["0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"])
def test_an_end_that_utc_does_not_know(time: str) -> None:
    with pytest.raises(InvalidError, match=r"^--until: '"):
        moment(time, None, NOW)


def test_one_job_by_argument_or_option() -> None:
    assert one_job(JOB_ID, None) == one_job(None, JOB_ID) == JOB_ID
    for both in (("a~1", "a~2"), (None, None), ("", None)):
        with pytest.raises(InvalidError, match="--job-id"):
            one_job(*both)


@pytest.mark.parametrize("wrong", ["nope", "acme~nope", f"{JOB_ID}0", f"/{JOB_ID}", JOB_ID.lower(), f"{JOB_ID}\n"])
def test_what_is_no_job_id_is_refused_as_what_was_typed(wrong: str) -> None:
    assert job_ids([JOB_ID, JOB_ID]) == (JOB_ID,)
    told = f"{wrong!r} is not a job id; it looks like <org_id>~<ULID>"
    with pytest.raises(InvalidError) as caught:
        one_job(None, wrong)
    assert (caught.value.message, caught.value.field) == (f"--job-id: {told}", "--job-id")
    for read in (lambda: one_job(wrong, None), lambda: job_ids([JOB_ID, wrong])):
        with pytest.raises(InvalidError) as caught:
            read()
        assert (caught.value.message, caught.value.field) == (f"JOB: {told}", "JOB")


@pytest.mark.parametrize(
    ("remote", "shown"),
    [
        ("plain", "plain"),
        ("ünïcode ✓", "ünïcode ✓"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPq payload \x1b\\text", "text"),
        ("\x9b31mred", "red"),
        ("a\x00b\x07c\x08d\x7f", "abcd"),
        ("two\nlines\r\tand", "two lines  and"),
        ("abc\u202etxt.exe", "abctxt.exe"),
        ("two\u2028lines\u2029and", "two lines and"),
        ("\u200bzero\ufeff", "zero"),
        ("\x1b]unterminated", ""),
    ],
)
def test_a_cell_is_one_harmless_line(remote: str, shown: str) -> None:
    assert clean(remote) == shown


def test_a_log_keeps_lines_tabs_and_colours_only() -> None:
    log = "\x1b[31mred\x1b[0m\tok\n\x1b[2Jgone\x07\u202e\x1b]0;t\x07!"
    assert clean_log(log) == "\x1b[31mred\x1b[0m\tok\ngone!"
