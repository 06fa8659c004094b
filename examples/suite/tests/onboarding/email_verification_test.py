"""The code of the mail works once."""

from app.onboarding import Accounts


def test_the_right_code_verifies_once():
    accounts = Accounts()
    code = accounts.sign_up("ada@shop.test", "rosehip-tea-9", terms=True)
    assert not accounts.verify("ada@shop.test", "not it")
    assert accounts.verify("ada@shop.test", code)
    assert not accounts.verify("ada@shop.test", code)
    assert accounts.verified["ada@shop.test"]
