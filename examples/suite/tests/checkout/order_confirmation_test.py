"""The confirmation shows what was bought."""

from app.backend import PaymentGateway
from app.cart import Cart
from app.checkout import Checkout


def test_the_confirmation():
    cart = Cart()
    cart.add("TEA-01", 2)
    cart.add("POT-01")
    order = Checkout(cart, "US-OR")
    order.ship_to(" Ada ", "Mill Lane 1", "97201")
    assert order.pay(PaymentGateway(), "4242", key="order-7") == {
        "order": "order-7",
        "paid": "48.90",
        "lines": ["2 x TEA-01", "1 x POT-01"],
        "to": "Ada",
    }
