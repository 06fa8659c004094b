"""What is not there is not found."""

from app.search import search


def test_unknown_words():
    assert search("toaster") == []


def test_every_word_must_fit():
    assert search("green coffee") == []


def test_an_empty_search_finds_nothing():
    assert search("   ") == []
