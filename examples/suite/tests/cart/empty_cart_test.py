"""An empty cart costs nothing, shipping included."""

from app.cart import Cart
from app.checkout import Checkout


def test_nothing_costs_nothing():
    order = Checkout(Cart())
    assert (order.goods, order.shipping, order.tax, order.total) == (0, 0, 0, 0)
