"""What callers send, where the words of the refusal matter."""

from __future__ import annotations

import pytest

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.service.validation import as_one_line, check_path, check_text


@pytest.mark.parametrize("check", [check_path, check_text])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("a\ud800.js", r"'a\ud800.js' holds half of a surrogate pair, which is no character; send UTF-8"),
        ("a\u2028.js", r"'a\u2028.js' contains a control character"),
        ("a\u2029.js", r"'a\u2029.js' contains a control character"),
    ],
)
def test_what_is_no_character_of_a_line_is_told_as_what_it_is(check: object, value: str, told: str) -> None:
    assert callable(check)
    with pytest.raises(InvalidError) as caught:
        check("field", value)
    assert caught.value.reason == told


def test_a_program_s_words_become_one_line() -> None:
    assert as_one_line("a\u2028b\u2029c\nd") == "a b c d"
