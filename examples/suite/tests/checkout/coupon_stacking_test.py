"""Several coupons on one order.

Fails for good in the release candidate, which lets the order of typing change the price.
"""

from app import money, release
from app.coupons import CouponError, Discounts
from checks import refused

BASKET = 10_000


def price_after(*codes):
    discounts = Discounts()
    for code in codes:
        discounts.apply(code)
    return discounts.reduce(BASKET)


def test_before_two_dot_zero_a_second_coupon_is_refused():
    if not release.has("stacked_coupons"):
        assert "one coupon an order" in str(refused(CouponError, price_after, "SAVE10", "MINUS5"))


def test_since_two_dot_zero_the_order_of_typing_does_not_change_the_price():
    if release.has("stacked_coupons"):
        one, other = price_after("SAVE10", "MINUS5"), price_after("MINUS5", "SAVE10")
        assert one == other, f"SAVE10 then MINUS5 costs {money.text(one)}, MINUS5 then SAVE10 {money.text(other)}"
