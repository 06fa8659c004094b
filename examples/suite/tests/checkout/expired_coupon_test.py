"""Coupons that can't be used say why."""

from app.coupons import CouponError, Discounts
from checks import refused


def test_expired():
    assert str(refused(CouponError, Discounts().apply, "SUMMER19")) == "SUMMER19: expired on 2019-08-31"


def test_unknown():
    assert str(refused(CouponError, Discounts().apply, "FREE")) == "FREE: no such coupon"


def test_repeated():
    discounts = Discounts()
    discounts.apply("HALF")
    assert str(refused(CouponError, discounts.apply, "half")) == "HALF: used already"
