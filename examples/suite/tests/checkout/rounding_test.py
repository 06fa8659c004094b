"""Cents are neither lost nor made."""

from app import money


def test_half_a_cent_is_rounded_up():
    assert money.percent(250, 1) == 3
    assert money.percent(249, 1) == 2


def test_split_amounts_add_up():
    for cents in range(500):
        parts = money.split(cents, 7)
        assert sum(parts) == cents
        assert max(parts) - min(parts) <= 1


def test_amounts_as_text():
    assert [money.text(cents) for cents in (0, 5, -5, 1234567)] == ["0.00", "0.05", "-0.05", "12,345.67"]
