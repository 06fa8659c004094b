"""Who calls. Every read and write goes through a principal."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from qgjob_coordinator.errors import ForbiddenError, NotFoundError


class Role(Enum):
    """What a caller may do."""

    ADMIN = "admin"  # everything, in every org
    MEMBER = "member"  # jobs of one org


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller. `org_id` None: all orgs."""

    name: str
    role: Role
    org_id: str | None = None

    def sees(self, org_id: str) -> bool:
        """Whether the org's jobs may be read and written."""
        return self.org_id is None or self.org_id == org_id

    def require_org(self, org_id: str, *, field: str = "org_id") -> None:
        """Raises NotFoundError naming `field` for a foreign org: the same answer as for what is not there."""
        if not self.sees(org_id):
            raise NotFoundError(f"org {org_id} not found", field=field)

    def require_operator(self) -> None:
        """Raises ForbiddenError unless the caller may act on the fleet."""
        if self.role is not Role.ADMIN:
            raise ForbiddenError(f"{self.name} may not act on the fleet; ask for the admin role")


LOCAL_ADMIN = Principal("local", Role.ADMIN)
"""The caller while there is no authentication: the service binds to loopback by default."""
