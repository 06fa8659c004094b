"""Options that commands share, and the reading of their values. A wrong value names the option."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated

import typer

from qgjob._enums import JobStatus, Priority, Target
from qgjob._errors import InvalidError
from qgjob._ids import is_job_id


class OutputFormat(StrEnum):
    """How results are printed."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"


Output = Annotated[
    OutputFormat | None,
    typer.Option("-o", "--output", help="How results are printed; never changes the exit code. Default: table."),
]
Coordinator = Annotated[
    str | None,
    typer.Option(help="host[:port] of the coordinator; several with commas between. Default: QGJOB_COORDINATOR."),
]
OrgId = Annotated[str | None, typer.Option(help="The organisation.")]
RunId = Annotated[str | None, typer.Option(help="The run, a label that ties jobs together.")]
JobArgument = Annotated[str | None, typer.Argument(metavar="JOB", help="The job's id.", show_default=False)]
JobIdOption = Annotated[str | None, typer.Option("--job-id", help="The same as JOB.")]
StatusFilter = Annotated[
    JobStatus | None, typer.Option("--status", case_sensitive=False, help="Only jobs with this status.")
]
PriorityOption = Annotated[
    Priority | None, typer.Option("--priority", case_sensitive=False, help="Default: the coordinator's.")
]
TargetOption = Annotated[
    Target | None, typer.Option("--target", case_sensitive=False, help="Class of device. Default: the coordinator's.")
]
TargetFilter = Annotated[
    Target | None, typer.Option("--target", case_sensitive=False, help="Only devices of this class.")
]
Reason = Annotated[str | None, typer.Option(help="Why; shown to everyone who looks.")]
Until = Annotated[str | None, typer.Option(help="When it ends by itself, as in 2026-01-31T18:00Z.")]
For = Annotated[str | None, typer.Option("--for", help="How long it lasts, as in 90s, 30m, 2h, 1d.")]

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def usage(option: str, message: str) -> InvalidError:
    """The error of a wrong value."""
    return InvalidError(f"{option}: {message}", field=option)


def required(value: str | None, option: str, hint: str = "") -> str:
    """A value that must be there. Raises InvalidError."""
    if not value:
        raise usage(option, f"is required{hint}")
    return value


def one_job(argument: str | None, option: str | None, or_many: str = "") -> str:
    """The job, named as argument or as option. Raises InvalidError unless exactly one is.

    `or_many` are the options by which the command takes several.
    """
    if argument and option:
        raise usage("--job-id", "the job is given twice, as JOB and with --job-id; give one")
    if not argument and not option:
        raise usage(
            "JOB", f"is missing; name the job, as JOB or with --job-id{f', or jobs with {or_many}' if or_many else ''}"
        )
    return _job_id(argument, "JOB") if argument else _job_id(option or "", "--job-id")


def job_ids(arguments: Iterable[str] | None) -> tuple[str, ...]:
    """The jobs that are named, each once. Raises InvalidError for what is no job id, as a coordinator would."""
    return tuple(dict.fromkeys(_job_id(each, "JOB") for each in arguments or ()))


def _job_id(text: str, place: str) -> str:
    if not is_job_id(text):
        raise usage(place, f"{text!r} is not a job id; it looks like <org_id>~<ULID>")
    return text


def pairs(values: Iterable[str], option: str) -> dict[str, str]:
    """`["a=1", "b=2"]` as a dict; a value may hold more `=`. Raises InvalidError."""
    found: dict[str, str] = {}
    for each in values:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise usage(option, f"{each!r} is not key=value")
        if key in found:
            raise usage(option, f"{key!r} is given twice")
        found[key] = value
    return found


def seconds(text: str | None, option: str) -> float | None:
    """A duration such as 90, 90s, 30m, 2h, 1d. Raises InvalidError."""
    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise usage(option, f"{text!r} is not a duration; write 90 (seconds), 90s, 30m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2]]


def number(
    least: float | None = None, most: float | None = None, *, whole: bool = True
) -> Callable[[str | float], float]:
    """A reader of numbers for an option. Raises BadParameter, with the value and what to use."""
    span = f"{least:g} to {most:g}" if least is not None and most is not None else None
    advice = f"use {span}" if span else f"use at least {least:g}" if least is not None else "use one such as 3"

    def read(text: str | float) -> float:
        try:
            value = int(str(text)) if whole else float(text)
        except ValueError:
            raise typer.BadParameter(f"{text!r} is not a {'whole ' if whole else ''}number; {advice}") from None
        if not (least is None or value >= least) or not (most is None or value <= most):
            raise typer.BadParameter(f"{text} is out of range; {advice}")
        return value

    return read


_LAST = datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC)


def moment(until: str | None, duration: str | None, now: datetime) -> datetime | None:
    """When it ends: `--until` (without a zone: this machine's) or `--for`; None when neither is given.

    An end after all times that can be told is the last of them: the coordinator says how much is too much.
    """
    if until is not None and duration is not None:
        raise usage("--until", "give --until or --for, not both")
    lasting = seconds(duration, "--for")
    if lasting is not None:
        left = (_LAST - now).total_seconds()
        return now + timedelta(seconds=lasting) if lasting < left else _LAST
    if until is None:
        return None
    try:
        return datetime.fromisoformat(until).astimezone(UTC)
    except (ValueError, OverflowError):
        raise usage("--until", f"{until!r} is not a time; write 2026-01-31T18:00Z") from None


def typed_end(until: str | None, duration: str | None) -> dict[str, str]:
    """What was typed for the field `until` of a call; see `blame.in_options`."""
    if duration is not None:
        return {"until": f"--for: {duration!r}"}
    return {} if until is None else {"until": f"--until: {until!r}"}
