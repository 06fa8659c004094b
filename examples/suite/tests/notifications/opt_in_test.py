"""Nothing is sent before the customer agreed."""

from app.backend import PushGateway
from app.notifications import Notifications


def test_silent_without_consent():
    gateway = PushGateway(known={"phone-1"})
    assert Notifications(gateway, "phone-1").tell("packed", "A1", hour=12) == "not allowed"
    assert gateway.inbox == {}
