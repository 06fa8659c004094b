"""Whose plan it is."""

from __future__ import annotations

from dataclasses import dataclass

_LEAST_SECRET = 4


@dataclass(frozen=True, slots=True)
class Account:
    """A user and the key. Its text shows neither of them."""

    user: str
    access_key: str

    def __repr__(self) -> str:
        return "Account(…)"

    def hidden(self, text: str) -> str:
        """The same without the account's user and key."""
        for secret in (self.access_key, self.user):
            if len(secret) >= _LEAST_SECRET:  # a user called "a" would leave no word whole
                text = text.replace(secret, "…")
        return text
