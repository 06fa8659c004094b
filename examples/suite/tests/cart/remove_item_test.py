"""Taking out of the cart."""

from app.cart import Cart, CartError
from checks import refused


def test_removed():
    cart = Cart()
    cart.add("TEA-01", 3)
    cart.remove("TEA-01")
    assert cart.lines == {}


def test_what_is_not_there_cannot_be_removed():
    assert "TEA-01" in str(refused(CartError, Cart().remove, "TEA-01"))
