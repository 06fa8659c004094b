"""A product that was just added can be found.

Flaky: the first attempt of a job reads from a replica that lags.
"""

from app.backend import Replicas
from app.catalog import PRODUCTS, Product
from app.search import search


def test_a_new_product_is_found():
    index = Replicas()
    for product in PRODUCTS:
        index.write(product)
    index.write(Product("TEA-04", "Rooibos", "tea", "Harbour", 460))
    found = [product.sku for product in search("rooibos", products=index.read())]
    assert found == ["TEA-04"], f"the new product is not in the index yet, found {found}"
