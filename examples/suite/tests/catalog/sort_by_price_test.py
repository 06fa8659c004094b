"""Sorting by price, both ways."""

from app.catalog import listing
from checks import refused


def test_cheapest_first():
    prices = [product.price for product in listing(sort="price")]
    assert prices == sorted(prices)


def test_dearest_first():
    assert listing(sort="price", descending=True)[0].name == "Hand grinder"


def test_any_other_order_is_refused():
    assert "'colour'" in str(refused(ValueError, listing, sort="colour"))
