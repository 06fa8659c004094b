"""Changing the name."""

from app.profile import Profile, ProfileError
from checks import refused


def test_blanks_are_tidied():
    profile = Profile("Ada", "ada@shop.test")
    profile.rename("  Ada   King ")
    assert profile.name == "Ada King"


def test_an_empty_or_over_long_name_is_refused():
    profile = Profile("Ada", "ada@shop.test")
    for name in ("   ", "x" * 61):
        refused(ProfileError, profile.rename, name)
    assert profile.name == "Ada"
