"""What the app tells its customers, and when it keeps quiet."""

from app import release

TEXTS = {
    "packed": "Order {order} is packed",
    "shipped": "Order {order} is on its way",
    "delivered": "Order {order} has arrived",
}


class Notifications:
    """The notifications of one device. Hours are 0 to 23."""

    def __init__(self, gateway, token):
        self.gateway = gateway
        self.token = token
        self.allowed = False
        self.quiet = None
        self.waiting = []
        self.unread = 0

    def opt_in(self):
        """The customer agreed: the device is registered."""
        self.allowed = True
        self.gateway.register(self.token)

    def keep_quiet(self, start, end):
        """Sets quiet hours, from `start` up to `end`; they may pass midnight. Not before 1.9, which returns False."""
        if not release.has("quiet_hours"):
            return False
        self.quiet = (start, end)
        return True

    def is_quiet(self, hour):
        """Whether the customer wants peace at this hour."""
        if self.quiet is None:
            return False
        start, end = self.quiet
        return start <= hour < end if start <= end else hour >= start or hour < end

    def tell(self, event, order, hour):
        """Sends a message about an order. Returns `sent`, `held`, `lost` or `not allowed`."""
        text = TEXTS[event].format(order=order)
        if not self.allowed:
            return "not allowed"
        if self.is_quiet(hour):
            self.waiting.append(text)
            return "held"
        if not self.gateway.push(self.token, text):
            return "lost"
        self.unread += 1
        return "sent"

    def morning(self):
        """Delivers what was held over the quiet hours, and returns how many."""
        sent = sum(self.gateway.push(self.token, text) for text in self.waiting)
        self.waiting = []
        self.unread += sent
        return sent

    def open(self):
        """The customer looked."""
        self.unread = 0
