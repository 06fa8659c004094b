"""Why there may be no suite to run a test in."""

from __future__ import annotations


class SuiteUnresolvedError(Exception):
    """There is no such suite, or it can't be run anywhere: another try would end the same. Says what to do."""


class SuiteAwayError(Exception):
    """The suite could not be made ready now, or not on this host: network, disk, npm. Another try may succeed.

    `host_unfit`: not on this host, as it is set up; one on another host may.
    """

    def __init__(self, message: str, *, host_unfit: bool = False) -> None:
        super().__init__(message)
        self.host_unfit = host_unfit
