"""What requests may hold: types only, unknown fields refused. The rules behind the types are service/'s."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag

from qgjob_coordinator.service.calls.jobs import MAX_JOBS
from qgjob_coordinator.service.calls.submission import (
    MAX_KEY,
    MAX_QUEUE_TIMEOUT_SECONDS,
    MAX_RETRIES,
    MAX_TIMEOUT_SECONDS,
)
from qgjob_coordinator.service.validation import PLATFORMS

ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
DIGEST_PATTERN = r"^[0-9a-f]{64}$"
JOB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}~[0-7][0-9A-HJKMNP-TV-Z]{25}$"

Priority = Literal["low", "medium", "high"]
Target = Literal["emulator", "device", "browserstack"]
Status = Literal["queued", "scheduled", "running", "completed", "failed", "cancelled"]
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]


def says(**schema: JsonValue) -> Any:
    """Rules that the service checks, said in the schema."""
    return Field(json_schema_extra=schema)


class Request(BaseModel):
    """A body: no coercion, nothing unknown."""

    model_config = ConfigDict(strict=True, extra="forbid")


class RequirementsBody(Request):
    """What a device must be to serve a job; null and absent restrict nothing."""

    platform: Annotated[str | None, says(enum=[*PLATFORMS, None])] = None
    os_version: str | None = None
    device_model: str | None = None
    device_id: str | None = None
    labels: dict[str, str] | None = None


class SubmitBody(Request):
    """A job as its submitter describes it; null and absent mean the default."""

    org_id: Annotated[str, says(pattern=ID_PATTERN)]
    app_version_id: Annotated[str, says(pattern=ID_PATTERN)]
    test_path: Annotated[str, says(minLength=1, maxLength=512)]
    priority: Priority | None = None
    target: Target | None = None
    job_id: Annotated[str | None, says(description="`<org_id>~<ULID>`; made here when absent")] = None
    run_id: str | None = None
    labels: dict[str, str] | None = None
    requirements: RequirementsBody | None = None
    env: dict[str, str] | None = None
    max_retries: Annotated[int | None, says(minimum=0, maximum=MAX_RETRIES)] = None
    idempotency_key: Annotated[str | None, says(maxLength=MAX_KEY)] = None
    supersede: Annotated[
        str | None,
        says(
            maxLength=MAX_KEY,
            description="what the run that had this name before has unfinished is cancelled; "
            "a superseded run that is begun again needs a run_id of its own",
        ),
    ] = None
    not_before: Time | None = None
    timeout_seconds: Annotated[float | None, says(minimum=1, maximum=MAX_TIMEOUT_SECONDS)] = None
    queue_timeout_seconds: Annotated[float | None, says(minimum=1, maximum=MAX_QUEUE_TIMEOUT_SECONDS)] = None
    no_dedup: bool | None = None
    suite_digest: Annotated[
        str | None, says(pattern=DIGEST_PATTERN, description="SHA-256 of a suite that the org has pushed")
    ] = None
    overflow_target: Annotated[
        Target | None,
        says(
            description="where the job goes once, before its first attempt, when it would wait too long; another target"
        ),
    ] = None
    overflow_after_seconds: Annotated[
        float | None,
        says(
            minimum=1, maximum=MAX_QUEUE_TIMEOUT_SECONDS, description="how long it may be expected to wait until then"
        ),
    ] = None


class SubmitManyBody(Request):
    """Jobs of one org: all are accepted or none."""

    jobs: Annotated[list[SubmitBody], says(minItems=1, maxItems=MAX_JOBS)]
    more_follows: Annotated[
        bool | None, says(description="more calls of these runs follow; what they supersede is cancelled with the last")
    ] = None


class RetryBody(Request):
    """Which round's verdict is to be retried; absent: the current one."""

    round: Annotated[int | None, says(minimum=1)] = None
    operation_id: Annotated[str | None, says(pattern=ID_PATTERN)] = None


ONE, MANY = "(one)", "(many)"
TAGS = frozenset({ONE, MANY})


def _which(value: object) -> str:
    return MANY if isinstance(value, SubmitManyBody) or (isinstance(value, dict) and "jobs" in value) else ONE


AnySubmitBody = Annotated[
    Annotated[SubmitBody, Tag(ONE)] | Annotated[SubmitManyBody, Tag(MANY)],
    Discriminator(_which),
]
