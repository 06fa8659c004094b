"""Five wrong passwords lock the account, for the right one too."""

from app.login import TRIES, Login, LoginError
from checks import refused


def test_locked_after_five_tries():
    login = Login("rosehip")
    for second in range(TRIES):
        refused(LoginError, login.enter, "nettle", now=second)
    assert login.state(now=TRIES) == "locked"
    assert "locked for" in str(refused(LoginError, login.enter, "rosehip", now=TRIES))
