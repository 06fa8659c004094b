"""The category list counts its products."""

from app.catalog import PRODUCTS, categories


def test_counts_add_up():
    assert sum(categories().values()) == len(PRODUCTS)


def test_in_alphabetical_order():
    assert list(categories()) == ["coffee", "food", "kitchen", "supplies", "tea"]
