"""A whole word finds what holds it."""

from app.search import search


def test_a_word_of_the_name():
    assert [product.sku for product in search("espresso")] == ["COF-02"]


def test_letters_may_be_large_or_small():
    assert search("ESPRESSO") == search("espresso")
