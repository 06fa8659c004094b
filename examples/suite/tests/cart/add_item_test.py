"""Adding to the cart."""

from app.cart import Cart


def test_twice_the_same_article_is_one_line():
    cart = Cart()
    cart.add("TEA-01")
    cart.add("TEA-01")
    assert cart.lines == {"TEA-01": 2}
    assert cart.subtotal == 900


def test_the_badge_counts_pieces():
    cart = Cart()
    cart.add("TEA-01", 3)
    cart.add("MUG-01")
    assert cart.count == 4
