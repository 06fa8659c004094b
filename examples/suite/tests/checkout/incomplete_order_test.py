"""What is missing is named before any money moves."""

from app.backend import PaymentGateway
from app.cart import Cart
from app.checkout import Checkout, CheckoutError
from checks import refused


def test_cart_then_address():
    cart, gateway = Cart(), PaymentGateway()
    order = Checkout(cart)
    assert refused(CheckoutError, order.pay, gateway, "4242", key="order-1").field == "cart"
    cart.add("TEA-01")
    assert refused(CheckoutError, order.pay, gateway, "4242", key="order-1").field == "address"
    assert gateway.charges == {}
