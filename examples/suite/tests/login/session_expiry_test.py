"""A session ends half an hour after the last touch."""

from app.login import SESSION_SECONDS, Login


def test_an_idle_session_expires():
    login = Login("rosehip")
    login.enter("rosehip", now=0)
    assert login.state(now=SESSION_SECONDS - 1) == "in"
    assert login.state(now=SESSION_SECONDS) == "expired"


def test_touching_keeps_it_alive_but_revives_nothing():
    login = Login("rosehip")
    login.enter("rosehip", now=0)
    login.touch(now=SESSION_SECONDS - 1)
    assert login.state(now=SESSION_SECONDS + 1) == "in"
    login.touch(now=10 * SESSION_SECONDS)
    assert login.state(now=10 * SESSION_SECONDS) == "expired"
