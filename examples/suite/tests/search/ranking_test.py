"""Better fits come first, then cheaper ones."""

from app.search import search


def test_the_whole_word_beats_its_beginning():
    assert [product.name for product in search("mint")] == ["Mint tea"]
    assert [product.name for product in search("co")] == ["House coffee", "Decaf coffee", "Espresso roast"]
    assert [product.name for product in search("gr")] == ["Green tea", "Hand grinder"]


def test_equals_stand_by_price():
    assert [product.name for product in search("tea")] == ["Black tea", "Mint tea", "Green tea", "Tea pot"]
