"""The right password lets in."""

from app.login import Login


def test_logged_in_after_the_right_password():
    login = Login("rosehip")
    assert login.state(now=0) == "out"
    login.enter("rosehip", now=0)
    assert login.state(now=1) == "in"
