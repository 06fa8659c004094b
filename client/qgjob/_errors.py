"""Every error that the client raises. The docstring of each says what it means to a caller.

QgjobError
├── InvalidError           a field of the request is wrong; nothing was changed
├── NotAuthenticatedError  no valid credential came with the call
├── ForbiddenError         the credential is valid and does not allow this
├── NotFoundError          no such thing, or not the caller's
├── ConflictError          the thing is not in a state that allows this
├── TooLargeError          the request is over a size limit
├── QuotaError             over a quota; try again later
├── UnavailableError       no coordinator, or its store, could take the call
│   └── DeadlineError      a coordinator took the call and did not answer in time
├── WaitTimeoutError       the time given to a wait is over; the jobs go on
├── ProtocolError          an answer that this client can't make sense of
│   └── UnsupportedError   the coordinator does not know the call: it is older than this client
└── ConfigError            a setting of the client is wrong
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qgjob._models import Job


_ADVICE = "; start one (`qgjob up` on this machine), or name another in QGJOB_COORDINATOR; `qgjob doctor` says more"
_STORE_ADVICE = "; `qgjob doctor` says more"


class QgjobError(Exception):
    """The root of the tree. `short` is a stable word for programs, `message` tells people what to do.

    `field` is the path of the wrong field where one is to blame, as in `jobs[3].test_path`; `message` names it already.
    """

    short = "internal"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field

    def to_dict(self) -> dict[str, str]:
        """The error body of the contract: `{error, message}`, and `field` where one is to blame."""
        body = {"error": self.short, "message": self.message}
        return body if self.field is None else {**body, "field": self.field}


class InvalidError(QgjobError):
    """A field of the request is wrong. Nothing was changed."""

    short = "invalid"


class NotAuthenticatedError(QgjobError):
    """No valid credential came with the call."""

    short = "not_authenticated"


class ForbiddenError(QgjobError):
    """The caller is known and may not do this."""

    short = "forbidden"


class NotFoundError(QgjobError):
    """No such thing, or it is another org's: both get the same answer."""

    short = "not_found"


class ConflictError(QgjobError):
    """The thing is not in a state that allows this."""

    short = "conflict"


class TooLargeError(QgjobError):
    """The request is over a size limit."""

    short = "too_large"


class QuotaError(QgjobError):
    """A quota is used up. `retry_after_seconds` says when to try again, where the coordinator told."""

    short = "quota"

    def __init__(self, message: str, *, field: str | None = None, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, field=field)
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(QgjobError):
    """No coordinator, or its store, could take the call. Nothing is promised; the same call may be repeated.

    `retrying_seconds` is how long the client itself still repeats it: set in what `on_trouble` is told of, else None.
    `wrong_peer`: what listens at the address is no coordinator. `in_vain`: so it is at all addresses, and the call is
    not repeated. `unreached`: gRPC says so, which got to no coordinator at the address. `unsent`: no try of the call
    found a connection to a coordinator to be sent on, so none has it. `away` is what a coordinator could not ask:
    `store`, `agent` or `parent`, as far as it says.
    """

    short = "unavailable"
    retrying_seconds: float | None = None
    wrong_peer: bool = False
    in_vain: bool = False
    unreached: bool = False
    unsent: bool = False
    away: str | None = None

    @property
    def advice(self) -> str:
        """What to do, to be said behind the message once it is given up; empty where the message says it."""
        if self.unreached:
            return _ADVICE
        return _STORE_ADVICE if self.away == "store" else ""

    def __str__(self) -> str:
        return self.message + self.advice


class DeadlineError(UnavailableError):
    """The call was sent and not answered in time. It may or may not have had its effect; repeating it is safe."""

    short = "deadline_exceeded"


class WaitTimeoutError(QgjobError):
    """The time given to a wait is over. The jobs go on; `jobs` holds them as last seen, in the order asked for."""

    short = "wait_timeout"

    def __init__(self, message: str, *, jobs: list[Job]) -> None:
        super().__init__(message)
        self.jobs = jobs


class ProtocolError(QgjobError):
    """An answer that this client can't make sense of: the coordinator failed, or is of another version."""

    short = "internal"


class UnsupportedError(ProtocolError):
    """The coordinator does not know the call: it is older than this client."""

    short = "unsupported"


class ConfigError(QgjobError):
    """A setting of the client is wrong. The message names the setting, its value and its source."""

    short = "config"
