"""A fresh registration gets its first message.

Flaky: at the first attempt of a job the gateway does not know the device yet.
"""

from app.backend import PushGateway
from app.notifications import Notifications


def test_the_first_message_arrives():
    gateway = PushGateway()
    phone = Notifications(gateway, "phone-1")
    phone.opt_in()
    assert phone.tell("shipped", "A1", hour=12) == "sent", "the push gateway does not know this device"
    assert gateway.inbox == {"phone-1": ["Order A1 is on its way"]}
