"""Which project of AppWright's config the tests of a device run: a project has one platform and one provider. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qgjob_agent.core.values import Target

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Projects:
    """Names of projects: `default` for the devices that `by_kind` has no word for; "" where there is none."""

    default: str = ""
    by_kind: Mapping[str, str] = field(default_factory=dict)

    def of(self, platform: str | None, target: Target) -> str:
        """The project of a device of that platform (android, ios; None counts as android); "" where none is named."""
        named = (self.by_kind[kind] for kind in kinds_of(platform, target) if kind in self.by_kind)
        return next(named, self.default)


def kinds_of(platform: str | None, target: Target) -> tuple[str, ...]:
    """What a device is called in `[appwright.projects]`, the narrowest word first."""
    whole = platform or "android"
    if target is Target.BROWSERSTACK:
        return ("browserstack", whole)
    return ("simulator", whole) if whole == "ios" and target is Target.EMULATOR else (whole,)
