"""A new customer makes an account."""

from app.onboarding import Accounts


def test_a_new_account_waits_for_its_verification():
    accounts = Accounts()
    code = accounts.sign_up("Ada@Shop.test", "rosehip-tea-9", terms=True)
    assert len(code) == 6
    assert accounts.verified == {"ada@shop.test": False}
