"""The default address comes first."""

from app.profile import Profile


def test_the_first_address_is_the_default():
    profile = Profile("Ada", "ada@shop.test")
    profile.add_address("home")
    profile.add_address("work")
    assert profile.addresses == ["home", "work"]


def test_another_default_moves_up_and_is_not_doubled():
    profile = Profile("Ada", "ada@shop.test")
    for address in ("home", "work"):
        profile.add_address(address)
    profile.add_address("work", default=True)
    assert profile.addresses == ["work", "home"]
