"""The services behind the app, with the small faults that real ones have.

They are what makes tests flaky in real life: a cold start, a replica that lags, a registration that has not spread yet.
Here each hits exactly the first attempt of a job (`QGJOB_ATTEMPT`), so that a demonstration is the same every time.
"""

import os

DECLINED = {"4000-0002": "card declined", "4000-9995": "insufficient funds"}


class ServiceUnavailableError(Exception):
    """The service answered 503."""


def cold():
    """Whether the services are met by the first attempt of a job. A test that is run by hand finds them warm."""
    return os.environ.get("QGJOB_ATTEMPT") == "1"


class MediaServer:
    """Stores pictures. Its container starts with the first request, which it can't answer in time."""

    def __init__(self):
        self.files = {}

    def put(self, name, data):
        """Stores a picture. Raises ServiceUnavailableError while the server starts."""
        if cold():
            raise ServiceUnavailableError(f"503 from the media server while storing {name}: container is starting")
        self.files[name] = bytes(data)
        return f"https://media.shop.test/{name}"


class Replicas:
    """The search index, copied to two nodes. The one that a first attempt is routed to lags behind by one write."""

    def __init__(self):
        self.writes = []

    def write(self, document):
        """Adds a document to the primary."""
        self.writes.append(document)

    def read(self):
        """What the node that answers knows."""
        return self.writes[:-1] if cold() else list(self.writes)


class PushGateway:
    """Delivers notifications to devices that it knows. A fresh registration takes a while to reach it."""

    def __init__(self, known=()):
        self.devices = set(known)
        self.inbox = {}

    def register(self, token):
        """Makes a device known."""
        if not cold():
            self.devices.add(token)

    def push(self, token, text):
        """Whether the notification was delivered."""
        if token not in self.devices:
            return False
        self.inbox.setdefault(token, []).append(text)
        return True


class PaymentGateway:
    """Authorises cards; some numbers are declined, as in every sandbox."""

    def __init__(self):
        self.charges = {}

    def charge(self, card, cents, key):
        """Charges once for each key, however often it is called. Returns (accepted, reason)."""
        if key in self.charges:
            return True, "repeated"
        if card in DECLINED:
            return False, DECLINED[card]
        self.charges[key] = cents
        return True, "accepted"
