"""Coupons, and the price that is left."""

from app import money, release

# code -> (kind, value, last day as YYYY-MM-DD)
COUPONS = {
    "SAVE10": ("percent", 10, "2030-12-31"),
    "MINUS5": ("amount", 500, "2030-12-31"),
    "HALF": ("percent", 50, "2030-12-31"),
    "SUMMER19": ("percent", 20, "2019-08-31"),
}
TODAY = "2026-03-01"


class CouponError(Exception):
    """The coupon can't be used."""


class Discounts:
    """The coupons of one order, in the order in which the customer typed them."""

    def __init__(self):
        self.codes = []

    def apply(self, code):
        """Adds a coupon. Raises CouponError for an unknown, expired or repeated one, or one too many."""
        code = code.strip().upper()
        if code not in COUPONS:
            raise CouponError(f"{code}: no such coupon")
        if COUPONS[code][2] < TODAY:
            raise CouponError(f"{code}: expired on {COUPONS[code][2]}")
        if code in self.codes:
            raise CouponError(f"{code}: used already")
        if self.codes and not release.has("stacked_coupons"):
            raise CouponError(f"{code}: one coupon an order")
        self.codes.append(code)

    def reduce(self, cents):
        """What is to be paid for goods of this value. Percentages come before amounts, and nothing gets below zero."""
        for code in self._in_order():
            kind, value, _ = COUPONS[code]
            cents -= money.percent(cents, value) if kind == "percent" else value
        return max(cents, 0)

    def _in_order(self):
        if release.has("stacked_coupons"):
            # The bug of the release candidate: it keeps the customer's order, so the price depends on the typing.
            return self.codes
        return sorted(self.codes, key=lambda code: COUPONS[code][0] != "percent")
