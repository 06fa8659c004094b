"""A coupon lowers the price."""

from app.cart import Cart
from app.checkout import Checkout


def test_ten_percent_off():
    cart = Cart()
    cart.add("MUG-02", 2)
    order = Checkout(cart)
    order.discounts.apply(" save10 ")
    assert order.goods == 2580 - 258


def test_never_below_zero():
    cart = Cart()
    cart.add("BIS-01")
    order = Checkout(cart)
    order.discounts.apply("MINUS5")
    assert order.goods == 0
