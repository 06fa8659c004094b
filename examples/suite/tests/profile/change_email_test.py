"""A new address counts when it is confirmed."""

from app.profile import Profile, ProfileError
from checks import refused


def test_confirmed():
    profile = Profile("Ada", "ada@shop.test")
    profile.ask_email("king@shop.test")
    assert profile.email == "ada@shop.test"
    profile.confirm_email("king@shop.test")
    assert profile.email == "king@shop.test"


def test_the_link_of_an_older_request_is_dead():
    profile = Profile("Ada", "ada@shop.test")
    profile.ask_email("first@shop.test")
    profile.ask_email("second@shop.test")
    refused(ProfileError, profile.confirm_email, "first@shop.test")
    assert profile.email == "ada@shop.test"
