"""Logging out forgets the session and what opened it."""

from app.login import Login, LoginError
from checks import refused


def test_nothing_opens_the_session_after_logging_out():
    login = Login("rosehip")
    login.enter("rosehip", now=0)
    login.enrol_fingerprint()
    login.leave()
    assert login.state(now=1) == "out"
    refused(LoginError, login.unlock, now=2)
