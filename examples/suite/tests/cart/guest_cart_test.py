"""A guest's cart survives logging in."""

from app import release
from app.cart import Cart


def test_carts_are_merged_or_replaced():
    mine, guest = Cart(), Cart()
    mine.add("TEA-01", 2)
    mine.add("MUG-02")
    guest.add("TEA-01", 5)
    mine.take_over(guest)
    if release.has("merge_guest_cart"):
        assert mine.lines == {"TEA-01": 5, "MUG-02": 1}
    else:
        assert mine.lines == {"TEA-01": 5}
