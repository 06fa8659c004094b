"""Each step of an order has its text."""

from app.backend import PushGateway
from app.notifications import Notifications


def test_texts_name_the_order():
    gateway = PushGateway(known={"phone-1"})
    phone = Notifications(gateway, "phone-1")
    phone.opt_in()
    for event in ("packed", "shipped", "delivered"):
        phone.tell(event, "B2", hour=12)
    assert gateway.inbox["phone-1"] == ["Order B2 is packed", "Order B2 is on its way", "Order B2 has arrived"]
