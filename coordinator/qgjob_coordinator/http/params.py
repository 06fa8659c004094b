"""Query parameters. An empty one is as good as none; a wrong one is named."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from qgjob_coordinator.http import examples, schemas
from qgjob_coordinator.service.calls.jobs import MAX_ROUND
from qgjob_coordinator.service.views import pages

_WHOLE = re.compile(r"-?\d{1,15}\Z", re.ASCII)


def _blank(value: Any) -> Any:
    return None if value == "" else value


def _whole(value: Any) -> Any:
    """Digits only: what pydantic takes for a number beyond that (`1_0`, ` 1`, `1.0`) is refused."""
    if isinstance(value, str) and value and not _WHOLE.match(value):
        raise PydanticCustomError("int_parsing", "is not a whole number")
    return _blank(value)


JobId = Annotated[str, Path(description="`<org_id>~<ULID>`", json_schema_extra={"pattern": schemas.JOB_ID_PATTERN})]
OrgFilter = Annotated[
    str | None, BeforeValidator(_blank), Query(description="Absent: all orgs that the caller may see")
]
Org = Annotated[
    str,
    Query(
        description="Whose jobs",
        json_schema_extra={"pattern": schemas.ID_PATTERN},
        openapi_examples={"readme": {"value": examples.SUBMIT["org_id"]}},
    ),
]
RunFilter = Annotated[str | None, BeforeValidator(_blank), Query(description="Only jobs of this run; absent: all")]
AgentFilter = Annotated[
    str | None, BeforeValidator(_blank), Query(description="Only devices of this agent; absent: all")
]
StatusFilter = Annotated[
    schemas.Status | None, BeforeValidator(_blank), Query(description="Only jobs in this status; absent: all")
]
TargetFilter = Annotated[
    schemas.Target | None, BeforeValidator(_blank), Query(description="Only devices of this target; absent: all")
]
Reason = Annotated[
    str | None, Query(description="Why, for people; it stands in the `error` of what is cancelled. Absent: none given")
]
PageSize = Annotated[
    Annotated[int, Field(ge=1, le=pages.MOST)] | None,
    BeforeValidator(_whole),
    Query(description=f"Items of a page; absent: {pages.DEFAULT}"),
]
PageToken = Annotated[str | None, Query(description="`next_page_token` of the page before, of this list only")]
Round = Annotated[
    Annotated[int, Field(ge=1, le=MAX_ROUND)] | None,
    BeforeValidator(_whole),
    Query(description="The round that is meant; absent: the current one"),
]
OperationId = Annotated[
    str | None,
    BeforeValidator(_blank),
    Query(description="A repeated call with the same id gets the first answer for 10 minutes"),
]
