"""The badge counts what was not looked at."""

from app.backend import PushGateway
from app.notifications import Notifications


def test_opening_the_app_clears_the_badge():
    phone = Notifications(PushGateway(known={"phone-1"}), "phone-1")
    phone.opt_in()
    for event in ("packed", "shipped", "delivered"):
        assert phone.tell(event, "A1", hour=12) == "sent"
    assert phone.unread == 3
    phone.open()
    assert phone.unread == 0
