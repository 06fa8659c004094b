"""Why BrowserStack gave not what was asked for. No message holds the account's user or key.

CloudError
├── AccountRefusedError   the account may not: wrong user or key, no right, a plan that is over
│   └── SpentError        what the plan has is used up
├── RejectedError         what was asked for is refused, and would be again
├── NotThereError         there is no such thing
├── NoRoomError           the plan is full, whatever the last look at it showed
└── CloudAwayError        it can't be had now: network, too many requests, a fault of theirs
    ├── TooManyError      more was asked for of late than is allowed
    └── UnheardError      it was asked for and no answer came: it may have been done all the same
"""

from __future__ import annotations


class CloudError(Exception):
    """The root of the tree. The message says what failed, and what to do."""


class AccountRefusedError(CloudError):
    """The account may not: wrong user or key, no right to do this, a plan that is over or used up."""


class SpentError(AccountRefusedError):
    """What the plan has is used up, which no look at it shows: sessions are free, and none begins."""


class RejectedError(CloudError):
    """What was asked for is refused, and would be refused again."""


class NotThereError(CloudError):
    """There is no such thing."""


class NoRoomError(CloudError):
    """The plan is full, whatever the last look at it showed."""


class CloudAwayError(CloudError):
    """It can't be had now: network, too many requests, or a fault at BrowserStack. Another try may have it."""

    def __init__(self, message: str, retry_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_seconds = retry_seconds


class TooManyError(CloudAwayError):
    """More was asked for of late than is allowed, by whoever uses the account."""


class UnheardError(CloudAwayError):
    """It was asked for, and no answer came: it may have been done all the same."""
