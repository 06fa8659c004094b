"""A declined card keeps the cart."""

from app.backend import PaymentGateway
from app.cart import Cart
from app.checkout import Checkout, CheckoutError
from checks import refused


def test_declined_with_a_reason():
    cart, gateway = Cart(), PaymentGateway()
    cart.add("TEA-01")
    order = Checkout(cart)
    order.ship_to("Ada", "Mill Lane 1", "10115")
    error = refused(CheckoutError, order.pay, gateway, "4000-9995", key="order-1")
    assert str(error) == "card: insufficient funds"
    assert gateway.charges == {}
    assert cart.count == 1
