"""No account without agreeing to the terms."""

from app.onboarding import Accounts, SignUpError
from checks import refused


def test_no_terms_no_account():
    accounts = Accounts()
    error = refused(SignUpError, accounts.sign_up, "ada@shop.test", "rosehip-tea-9", terms=False)
    assert error.field == "terms"
    assert accounts.verified == {}
