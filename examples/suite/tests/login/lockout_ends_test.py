"""A lock ends by itself."""

from app.login import LOCKED_SECONDS, TRIES, Login, LoginError
from checks import refused


def test_let_in_when_the_lock_is_over():
    login = Login("rosehip")
    for _ in range(TRIES):
        refused(LoginError, login.enter, "nettle", now=0)
    login.enter("rosehip", now=LOCKED_SECONDS)
    assert login.state(now=LOCKED_SECONDS) == "in"
