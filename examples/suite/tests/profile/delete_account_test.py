"""Deleting an account forgets the customer, but not before the last parcel."""

from app.profile import Profile, ProfileError
from checks import refused


def test_not_while_an_order_is_open():
    profile = Profile("Ada", "ada@shop.test")
    profile.open_orders = 1
    refused(ProfileError, profile.delete)
    assert not profile.deleted


def test_nothing_is_left():
    profile = Profile("Ada", "ada@shop.test")
    profile.add_address("home")
    profile.delete()
    assert (profile.name, profile.email, profile.picture, profile.addresses) == ("", "", None, [])
