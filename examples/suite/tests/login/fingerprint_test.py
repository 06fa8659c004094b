"""A fingerprint renews a session where release and device can do that."""

from app import device, release
from app.login import SESSION_SECONDS, Login, LoginError
from checks import refused


def test_a_fingerprint_renews_an_expired_session_or_is_not_offered():
    login = Login("rosehip")
    login.enter("rosehip", now=0)
    offered = login.enrol_fingerprint()
    assert offered == (release.has("biometrics") and device.has_fingerprint())
    if offered:
        login.unlock(now=SESSION_SECONDS)
        assert login.state(now=SESSION_SECONDS) == "in"
    else:
        assert "enter the password" in str(refused(LoginError, login.unlock, now=SESSION_SECONDS))
