"""Changing a quantity."""

from app.cart import Cart, CartError
from checks import refused


def test_zero_takes_the_line_out():
    cart = Cart()
    cart.add("TEA-01", 3)
    cart.set("TEA-01", 0)
    assert cart.count == 0


def test_less_than_nothing_is_refused_and_changes_nothing():
    cart = Cart()
    cart.add("TEA-01", 3)
    refused(CartError, cart.set, "TEA-01", -1)
    assert cart.lines == {"TEA-01": 3}
