"""What BrowserStack's answers mean, and what is shown of them."""

from __future__ import annotations

from typing import Any

import pytest

from qgjob_agent.devices.browserstack import answers
from qgjob_agent.devices.browserstack.account import Account
from qgjob_agent.devices.browserstack.errors import (
    AccountRefusedError,
    CloudAwayError,
    CloudError,
    NotThereError,
    RejectedError,
    TooManyError,
    UnheardError,
)

KEY = "a-key-that-nobody-sees"
ACCOUNT = Account("lab_user", KEY)


def refused(status: int, told: Any = "", what: str = "the plan", retry_after: str = "") -> CloudError:
    return answers.refusal(what, status, retry_after, told, ACCOUNT)


@pytest.mark.parametrize(
    ("kind", "statuses"),
    [
        (TooManyError, (429,)),
        (AccountRefusedError, (401, 402, 403)),
        (UnheardError, (408, 502, 504, 520, 522, 524)),
        (CloudAwayError, (425, 500, 501, 503, 521, 523, 599)),
        (NotThereError, (404,)),
        (RejectedError, (300, 400, 405, 409, 422)),
    ],
)
def test_an_answer_without_words_is_read_by_its_status(kind: type[CloudError], statuses: tuple[int, ...]) -> None:
    assert [type(refused(status)) for status in statuses] == [kind] * len(statuses)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("7", 7.0), ("0", 0.0), ("100000", 60.0), ("", None), ("Fri, 31 Dec 1999 23:59:59 GMT", None)],
)
@pytest.mark.parametrize("status", [429, 503, 504])
def test_what_passes_is_tried_again_as_late_as_was_asked_within_bounds(
    status: int, asked: str, seconds: float | None
) -> None:
    error = refused(status, retry_after=asked)
    assert isinstance(error, CloudAwayError)
    assert error.retry_seconds == seconds


def test_a_documented_error_is_told_in_its_words_and_a_page_is_not() -> None:
    documented = {"error": {"message": "[BROWSERSTACK_TEST_NOT_FOUND] The test-suite is invalid."}}
    assert "(HTTP 422: [BROWSERSTACK_TEST_NOT_FOUND]" in str(refused(422, documented, "the upload"))
    invalid = {"message": "Validation Failed", "errors": [{"field": "os_version", "code": "invalid"}]}
    assert "(HTTP 422: Validation Failed)" in str(refused(422, invalid, "the upload"))
    page = answers.words_alone("<html><body>queue of parallel requests</body></html>")
    assert str(refused(503, page, "a session")) == "BrowserStack can't serve a session now (HTTP 503)"
    assert isinstance(refused(404, {"message": "Not Found"}, "a session"), NotThereError)


def test_a_text_that_is_cut_has_no_half_of_a_key() -> None:
    for before in range(150, 220):
        said = "x" * before + KEY
        for told in ({"error": said}, answers.words_alone(said)):
            shown = str(refused(422, told))
            assert "xxx" in shown
            assert KEY[:4] not in shown
