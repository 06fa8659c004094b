"""The badge tells when little or nothing is left."""

from app.catalog import find


def test_badges():
    assert find("TEA-03").badge == "sold out"
    assert find("TEA-02").badge == "only 2 left"
    assert find("POT-01").badge == "only 3 left"
    assert find("MUG-01").badge is None
    assert find("TEA-01").badge is None
