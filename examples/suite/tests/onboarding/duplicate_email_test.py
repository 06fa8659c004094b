"""One address, one account, however it is written."""

from app.onboarding import Accounts, SignUpError
from checks import refused


def test_the_same_address_in_other_letters_is_refused():
    accounts = Accounts()
    accounts.sign_up("ada@shop.test", "rosehip-tea-9", terms=True)
    error = refused(SignUpError, accounts.sign_up, " ADA@shop.TEST ", "another-pass-1", terms=True)
    assert error.field == "email"
