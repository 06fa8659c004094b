"""A link that was opened before the sign-up is not lost."""

from app.onboarding import resume


def test_a_link_into_the_app_is_followed():
    assert resume("shop://product/TEA-01") == "/product/TEA-01"


def test_anything_else_starts_at_home():
    for link in ("", "shop://", "https://elsewhere.test/x", "shop://../settings"):
        assert resume(link) == "/", link
