"""A wrong password says how many tries are left."""

from app.login import Login, LoginError
from checks import refused


def test_the_tries_left_are_told():
    error = refused(LoginError, Login("rosehip").enter, "nettle", now=0)
    assert "4 tries left" in str(error)


def test_the_right_password_resets_the_count():
    login = Login("rosehip")
    refused(LoginError, login.enter, "nettle", now=0)
    login.enter("rosehip", now=1)
    assert login.failures == 0
