"""Tables of agent.toml that say what this host has: where builds come from, and the Android devices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from qgjob_agent.builds.template import TemplateError, check

Wait = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]


class Table(BaseModel):
    """One table: what it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _template(value: str) -> str:
    try:
        check(value)
    except TemplateError as error:
        raise ValueError(str(error)) from None
    return value


class BuildsConfig(Table):
    """Where builds come from that nobody pushed, and how much of all is kept on this host."""

    template: Annotated[str, AfterValidator(_template)] | None = None
    cache_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 10_000


class AdbConfig(Table):
    """The Android devices of an adb server; of `serials` only, where it names some. MB are 1,000,000 bytes."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 5037
    program: Path = Path("adb")
    serials: tuple[str, ...] = ()
    install_seconds: Wait = 300.0
    fetch_seconds: Wait = 3600.0
    min_free_mb: Annotated[int, Field(ge=0, le=1_000_000)] = 500
    min_battery_percent: Annotated[int, Field(ge=0, le=100)] = 10
    uninstall_ours: bool = True
    health_labels: bool = False
