"""One typo is forgiven since 1.9."""

from app import release
from app.search import one_edit_apart, search


def test_one_typo():
    found = [product.sku for product in search("expresso")]
    assert found == (["COF-02"] if release.has("typo_tolerance") else [])


def test_two_typos_are_too_many():
    assert search("expreso") == []


def test_what_one_typo_is():
    for other in ("cofee", "coffees", "coffwe", "cofefe", "offee"):
        assert one_edit_apart("coffee", other), other
    for other in ("coffee", "coff", "eeffoc", "tea"):
        assert not one_edit_apart("coffee", other), other
