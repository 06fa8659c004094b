"""Pages hold every product once."""

from app.catalog import PRODUCTS, listing, page


def test_all_pages_together_are_the_listing():
    products, seen, number, more = listing(), [], 1, True
    while more:
        part, more = page(products, number, size=5)
        seen += part
        number += 1
    assert seen == products
    assert len(seen) == len(PRODUCTS)


def test_a_page_past_the_end_is_empty():
    assert page(listing(), 99, size=5) == ([], False)
