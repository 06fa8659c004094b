"""Logging in: a state machine with a clock that the caller holds."""

from app import device, release

TRIES = 5
LOCKED_SECONDS = 300
SESSION_SECONDS = 1800


class LoginError(Exception):
    """Not let in."""


class Login:
    """One account on one device. `now` is in seconds."""

    def __init__(self, password):
        self._password = password
        self.failures = 0
        self.locked_until = None
        self.last_seen = None
        self.fingerprint = False

    def enter(self, password, now):
        """Logs in. Raises LoginError for a wrong password or a locked account."""
        if self.locked_until is not None and now < self.locked_until:
            raise LoginError(f"locked for {self.locked_until - now} s more")
        if password != self._password:
            self.failures += 1
            if self.failures >= TRIES:
                self.failures, self.locked_until = 0, now + LOCKED_SECONDS
                raise LoginError(f"locked for {LOCKED_SECONDS} s")
            raise LoginError(f"wrong password, {TRIES - self.failures} tries left")
        self.failures, self.locked_until, self.last_seen = 0, None, now

    def state(self, now):
        """One of `out`, `in`, `expired`, `locked`."""
        if self.locked_until is not None and now < self.locked_until:
            return "locked"
        if self.last_seen is None:
            return "out"
        return "in" if now - self.last_seen < SESSION_SECONDS else "expired"

    def touch(self, now):
        """The customer did something: the session lives on, if it still lived."""
        if self.state(now) == "in":
            self.last_seen = now

    def enrol_fingerprint(self):
        """Whether a fingerprint may open the session from now on: since 1.9, where the device has a reader."""
        self.fingerprint = release.has("biometrics") and device.has_fingerprint()
        return self.fingerprint

    def unlock(self, now):
        """Renews an expired session by fingerprint. Raises LoginError when there is none to use."""
        if not self.fingerprint:
            raise LoginError("no fingerprint enrolled: enter the password")
        if self.state(now) == "expired":
            self.last_seen = now

    def leave(self):
        """Logs out and forgets what opened the session."""
        self.last_seen, self.fingerprint = None, False
