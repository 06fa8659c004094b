"""Stock and the limit of one order hold."""

from app.cart import MOST_OF_ONE, Cart, CartError
from checks import refused


def test_not_more_than_there_is():
    Cart().add("TEA-02", 2)
    assert str(refused(CartError, Cart().add, "TEA-02", 3)) == "Black tea: only 2 left"


def test_not_more_than_the_limit():
    Cart().add("TEA-01", MOST_OF_ONE)
    assert "at most 20" in str(refused(CartError, Cart().add, "TEA-01", MOST_OF_ONE + 1))
