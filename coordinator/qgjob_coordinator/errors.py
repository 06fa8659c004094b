"""Every error that the coordinator answers with. The docstring of each says what it means to a caller.

QgjobError
├── InvalidError          a field of the request is wrong; nothing was changed
├── NotAuthenticatedError no valid credential
├── ForbiddenError        the credential is valid and does not allow this
├── NotFoundError         no such thing, or not the caller's
├── ConflictError         the thing is not in a state that allows this
├── TooLargeError         the request is over a size limit
├── QuotaError            over a quota; try again later
├── SlowReaderError       a stream was cut, since its caller did not read; go on where it ended
├── StoreUnavailableError the store can't acknowledge now; nothing was promised
│   ├── SchemaOlderError  it has an older schema, and is brought to this version's
│   └── StoreRightsError  its user lacks rights for what was asked
├── OrgDamagedError       what the store has of one org can't be used; all other orgs are served
├── JobDamagedError       what the store has of one job can't be used; it waits for a person
├── BlobsUnavailableError the blob store, or the disk for uploads, can't serve now; nothing was kept
├── ParentSilentError     the parent of this process did not answer; what was asked for is not known now
├── AgentSilentError      an agent did not confirm in time; the change is stored
└── ConfigError           a setting is wrong; the program does not start
    └── PortTakenError    a port is in use now; the program does not start, and may be started again
"""

from __future__ import annotations

from collections.abc import Sequence

OURS = "the coordinator failed; its log says why"
"""All that a caller is told of a fault of ours."""
REPAIR = "'An org whose data can't be used' in docs/operations.md"
"""Where operators find what to do about damaged records."""


class QgjobError(Exception):
    """The root of the tree. `short` is a stable word for programs, `message` tells people what to do.

    `away` names the part of qgjob that could not be asked, where one is to blame: `store`, `blobs` (the blob store),
    `agent` or `parent`.
    """

    short = "internal"
    away: str | None = None

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidError(QgjobError):
    """A field of the request is wrong. `field` is its path, as in `jobs[3].test_path`."""

    short = "invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", field=field)
        self.reason = message

    def under(self, prefix: str) -> InvalidError:
        """The same error with its field seen from an enclosing message."""
        return InvalidError(f"{prefix}.{self.field}", self.reason)


class NotAuthenticatedError(QgjobError):
    """No valid credential came with the call."""

    short = "not_authenticated"


class ForbiddenError(QgjobError):
    """The caller is known and may not do this."""

    short = "forbidden"


class NotFoundError(QgjobError):
    """No such thing, or it is another org's: both get the same answer. `field` is what names it in the request."""

    short = "not_found"

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message, field=field)


class ConflictError(QgjobError):
    """The thing is not in a state that allows this."""

    short = "conflict"


class TooLargeError(QgjobError):
    """The request is over a size limit."""

    short = "too_large"


class QuotaError(QgjobError):
    """A quota is used up; `retry_after_seconds` says when to try again."""

    short = "quota"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SlowReaderError(QgjobError):
    """The caller of a stream took nothing for too long and was cut. The message says from where to go on."""

    short = "slow_reader"


class StoreUnavailableError(QgjobError):
    """The store is away, loading, full or refuses writes. Nothing of the call is promised; repeat it later.

    `orgs` are those whose part of the store is away, where it is not the whole.
    """

    short = "unavailable"
    away = "store"
    orgs: frozenset[str] = frozenset()


class ParentSilentError(QgjobError):
    """The parent of several processes did not answer in time. Nothing is wrong with the work; look at that process."""

    short = "unavailable"
    away = "parent"


class SchemaOlderError(StoreUnavailableError):
    """The store has an older schema, `found`, from which there is a way to this version's."""

    def __init__(self, found: str) -> None:
        super().__init__(f"the store has schema {found} and is brought to this version's; repeat the call later")
        self.found = found


class StoreRightsError(StoreUnavailableError):
    """The user of REDIS_URL may not do what was asked; `rules` of an ACL would let it, as far as they are known."""

    def __init__(self, rules: Sequence[str]) -> None:
        self.rules = tuple(rules)
        super().__init__(f"the user of REDIS_URL lacks rights in the store ({' '.join(rules)}); repeat the call later")


class OrgDamagedError(QgjobError):
    """What the store has of an org can't be used: a record is damaged, or this version has a fault that it meets there.

    Only parts of a coordinator that serve org by org raise it, to each other. The org is not to be served again before
    `again_in_seconds`. Its cause is the error that was met.
    """

    def __init__(self, org_id: str, message: str, again_in_seconds: float) -> None:
        super().__init__(f"the data of org {org_id} can't be used ({message})")
        self.org_id = org_id
        self.again_in_seconds = again_in_seconds


class JobDamagedError(QgjobError):
    """What the store has of one job can't be used: its record is damaged. Its cause is the error that was met."""

    def __init__(self, org_id: str, ulid: str, error: Exception) -> None:
        self.job_id = f"{org_id}~{ulid}"
        met = f"{type(error).__name__}: {error}"
        super().__init__(f"job {self.job_id} can't be read ({met}): its record in the store is damaged; see {REPAIR}")


class BlobsUnavailableError(QgjobError):
    """The blob store, or the disk of uploads, can't serve now. Nothing was kept; repeat the call later."""

    short = "unavailable"
    away = "blobs"
    orgs: frozenset[str] = frozenset()


class AgentSilentError(QgjobError):
    """An agent did not confirm in time. What was asked for is stored and will hold."""

    short = "unavailable"
    away = "agent"


class ConfigError(QgjobError):
    """A setting is wrong. The message names the setting, its value and its source."""

    short = "config"


class PortTakenError(ConfigError):
    """Something else has the port of a setting now. The setting may be right all the same: it is tried again."""

    short = "port_taken"
