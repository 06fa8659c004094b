"""Of bytes that the log of an attempt lacks: how many they are, and where else they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob._enums import ArtifactKind
from qgjob._errors import QgjobError, UnsupportedError
from qgjob.cli.artifacts import OUTPUT_NAME, kept_of

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob._models import Job, LogChunk


class Gaps:
    """Those of one job's logs; `job` is how it stood when they were asked for."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        self._client = client
        self._job_id = job.job_id
        self._ended = {each.attempt for each in job.attempts if each.ended_at is not None}
        self._over = job.final
        self._places: dict[int, str] = {}

    async def words(self, chunk: LogChunk) -> str:
        """A line for the bytes that are missing before a piece. Where they are is looked up once for each attempt."""
        if chunk.attempt not in self._places:
            self._places[chunk.attempt] = await self._place(chunk.attempt)
        return f"--- {chunk.skipped} bytes before this are {self._places[chunk.attempt]}"

    async def _place(self, attempt: int) -> str:
        listing = f"qgjob artifacts ls {self._job_id}"
        try:
            kept, _ = await kept_of(self._client, [self._job_id], attempt)
        except UnsupportedError:  # a coordinator that keeps none
            return "not kept"
        except QgjobError:  # the log itself may still be there to be shown
            return f"not shown; its evidence may have them: {listing}"
        if any(each.kind is ArtifactKind.LOG and each.name == OUTPUT_NAME for each in kept):
            get = f"qgjob artifacts get {self._job_id} --attempt={attempt} --name={OUTPUT_NAME}"
            return f"not shown; the evidence has its log: {get}"
        if self._over or attempt in self._ended:
            return "not kept"
        return f"not shown; once the attempt has ended its evidence may have them: {listing}"
