"""Filters narrow a search down."""

from app.search import search


def test_by_category():
    assert {product.category for product in search("meadow", category="tea")} == {"tea"}


def test_by_price():
    assert [product.sku for product in search("harbour", most=900)] == ["TEA-02", "COF-01"]
