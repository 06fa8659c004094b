"""One face for both protocols: what a scenario calls, and what it gets back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer. `code` is `ok` or CONTRACT's class of the error; `created` whether a submission made a job."""

    code: str
    field: str | None = None
    message: str | None = None
    value: Json | None = None
    created: bool | None = None

    @property
    def word(self) -> str:
        """Code and field in short: `invalid test_path`."""
        return f"{self.code} {self.field}" if self.field else self.code

    @property
    def job(self) -> Json:
        """The answer, which must be there."""
        assert self.value is not None, self
        return self.value


class Api(Protocol):
    """CONTRACT's calls that both protocols have. Bodies are REST's; a keyword is a query parameter or a field."""

    async def submit(self, body: Json) -> Reply: ...

    async def submit_many(self, bodies: list[Json]) -> Reply: ...

    async def get(self, job_id: str) -> Reply: ...

    async def list(self, **query: object) -> Reply: ...

    async def cancel(self, job_id: str, **query: object) -> Reply: ...

    async def retry(self, job_id: str, **body: object) -> Reply: ...

    async def groups(self, **query: object) -> Reply: ...

    async def devices(self, **query: object) -> Reply: ...

    async def stats(self, **query: object) -> Reply: ...
