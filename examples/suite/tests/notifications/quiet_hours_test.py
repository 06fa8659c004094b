"""Quiet hours hold messages back until the morning."""

from app import release
from app.backend import PushGateway
from app.notifications import Notifications


def phone_with_quiet_hours():
    phone = Notifications(PushGateway(known={"phone-1"}), "phone-1")
    phone.opt_in()
    return phone, phone.keep_quiet(22, 7)


def test_over_midnight():
    phone, supported = phone_with_quiet_hours()
    assert supported == release.has("quiet_hours")
    quiet = [hour for hour in range(24) if phone.is_quiet(hour)]
    assert quiet == ([0, 1, 2, 3, 4, 5, 6, 22, 23] if supported else [])


def test_held_messages_come_in_the_morning():
    phone, supported = phone_with_quiet_hours()
    assert phone.tell("packed", "A1", hour=23) == ("held" if supported else "sent")
    assert phone.morning() == (1 if supported else 0)
    assert phone.unread == 1
