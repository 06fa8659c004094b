"""All problems of a password are listed at once."""

from app.onboarding import password_problems


def test_a_good_password_has_no_problem():
    assert password_problems("rosehip-tea-9", "ada@shop.test") == []


def test_every_problem_is_listed():
    assert password_problems("ada", "ada@shop.test") == [
        "shorter than 10 characters",
        "no digit",
        "holds the email name",
    ]


def test_a_common_password_is_refused_in_any_case():
    assert "on the list of common passwords" in password_problems("QwertyUiop")
