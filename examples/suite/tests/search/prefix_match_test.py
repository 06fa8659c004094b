"""The beginning of a word is enough."""

from app.search import search


def test_half_a_word_finds():
    assert [product.sku for product in search("grin")] == ["GRD-01"]


def test_the_middle_of_a_word_does_not():
    assert search("inder") == []
