"""A product is found by its article number."""

from app.catalog import find
from checks import refused


def test_found():
    product = find("COF-02")
    assert (product.name, product.brand, product.price) == ("Espresso roast", "Nordlys", 1150)


def test_an_unknown_number_is_an_error():
    refused(KeyError, find, "COF-99")
