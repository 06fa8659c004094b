"""Tapping twice pays once."""

from app.backend import PaymentGateway
from app.cart import Cart
from app.checkout import Checkout


def test_two_taps_one_charge():
    cart, gateway = Cart(), PaymentGateway()
    cart.add("MUG-01")
    order = Checkout(cart)
    order.ship_to("Ada", "Mill Lane 1", "10115")
    first = order.pay(gateway, "4242", key="order-1")
    second = order.pay(gateway, "4242", key="order-1")
    assert first == second
    assert gateway.charges == {"order-1": order.total}
