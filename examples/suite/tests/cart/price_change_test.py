"""The customer is told when a price changed since it was seen."""

from app import catalog
from app.cart import Cart


def test_a_changed_price_is_told():
    cart = Cart()
    cart.add("BIS-01")
    cart.add("TEA-01")
    catalog.find("BIS-01").price = 295
    assert cart.price_changes() == [("BIS-01", 275, 295)]
    assert cart.subtotal == 295 + 450
