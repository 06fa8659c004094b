"""Builds of app versions. Times are aware datetimes in UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qgjob._shape import Shape, to_json

if TYPE_CHECKING:
    from datetime import datetime

    from qgjob._enums import PushOutcome


@dataclass(frozen=True, slots=True)
class Build(Shape):
    """A build that an app version has for a platform (`android`, `ios`) and kind (`device`, `simulator`).

    `digest` is the SHA-256 of the file; `format` is `apk`, `aab`, `ipa` or `app`. `package` is the package name or
    bundle identifier. A version that the file does not have is None.
    """

    org_id: str
    app_version_id: str
    platform: str
    kind: str
    digest: str
    size_bytes: int
    file_name: str
    format: str
    package: str
    version_name: str | None
    version_code: str | None
    pushed_at: datetime


@dataclass(frozen=True, slots=True)
class PushedBuild(Shape):
    """What a push did. `uploaded` is False where the org had the content already."""

    build: Build
    outcome: PushOutcome
    uploaded: bool


@dataclass(frozen=True, slots=True)
class BuildPage(Shape):
    """One page of builds. `next_page_token` is None on the last one."""

    next_page_token: str | None
    builds: tuple[Build, ...]

    def to_dict(self) -> dict[str, Any]:
        """The contract's list: `{count, builds, next_page_token}`."""
        return {"count": len(self.builds), "builds": to_json(self.builds), "next_page_token": self.next_page_token}
