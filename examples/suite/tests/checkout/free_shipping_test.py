"""Shipping is free from 39.00 on."""

from app.cart import Cart
from app.checkout import FREE_SHIPPING_FROM, SHIPPING, Checkout


def order(*lines):
    cart = Cart()
    for sku, quantity in lines:
        cart.add(sku, quantity)
    return Checkout(cart)


def test_below_the_limit():
    assert order(("MUG-02", 3)).shipping == SHIPPING


def test_above_the_limit():
    assert order(("POT-01", 1)).shipping == 0


def test_the_limit_looks_at_the_price_after_coupons():
    large = order(("POT-01", 1))
    large.discounts.apply("SAVE10")
    assert large.goods < FREE_SHIPPING_FROM
    assert large.shipping == SHIPPING
