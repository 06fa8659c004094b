"""A wrong address is refused with its field."""

from app.cart import Cart
from app.checkout import Checkout, CheckoutError
from checks import refused


def test_postcodes_by_region():
    Checkout(Cart(), "CH").ship_to("Ada", "Mill Lane 1", "8001")
    assert refused(CheckoutError, Checkout(Cart(), "DE").ship_to, "Ada", "Mill Lane 1", "8001").field == "postcode"


def test_name_and_street_are_needed():
    order = Checkout(Cart())
    assert refused(CheckoutError, order.ship_to, " ", "Mill Lane 1", "10115").field == "name"
    assert refused(CheckoutError, order.ship_to, "Ada", "", "10115").field == "street"
