"""Tax follows the region."""

from app.cart import Cart
from app.checkout import Checkout, CheckoutError
from checks import refused


def test_tax_on_goods_and_shipping():
    cart = Cart()
    cart.add("COF-02", 2)
    taxes = {region: Checkout(cart, region).tax for region in ("DE", "FR", "CH", "US-OR")}
    assert taxes == {"DE": 530, "FR": 558, "CH": 223, "US-OR": 0}


def test_other_regions_are_not_served():
    assert refused(CheckoutError, Checkout, Cart(), "ATLANTIS").field == "region"
