"""What a client can ask about the evidence of attempts: list it, fetch it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from qgjob import _wire_artifacts
from qgjob._artifacts import Artifact, ArtifactOmission, ArtifactPage
from qgjob._errors import QuotaError, UnavailableError
from qgjob._failover import Failover
from qgjob._watching import Persistence

DEFAULT_PAGE_SIZE = 100
LARGE_PAGE_SIZE = 1000
JOBS_AT_ONCE = 100


class ArtifactCalls:
    """The calls of ArtifactService that are for people."""

    _source: Failover

    async def artifacts_page(
        self,
        job_ids: Sequence[str],
        *,
        attempt: int | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        page_token: str | None = None,
    ) -> ArtifactPage:
        """One page of what is kept of up to 100 jobs of one org, or of that attempt of each."""
        request = _wire_artifacts.list_artifacts(job_ids, attempt, page_size, page_token)
        return _wire_artifacts.read_artifact_page(await self._source.call("ListArtifacts", request))

    async def list_artifacts(
        self, job_ids: Sequence[str], *, attempt: int | None = None
    ) -> AsyncGenerator[Artifact | ArtifactOmission]:
        """All that is kept of any number of jobs, and what was left out of them."""
        for at in range(0, len(job_ids), JOBS_AT_ONCE):
            some, token = job_ids[at : at + JOBS_AT_ONCE], None
            while True:
                page = await self.artifacts_page(some, attempt=attempt, page_size=LARGE_PAGE_SIZE, page_token=token)
                for artifact in page.artifacts:
                    yield artifact
                for omission in page.omissions:
                    yield omission
                token = page.next_page_token
                if token is None:
                    break

    async def fetch_artifact(self, job_id: str, attempt: int, name: str) -> AsyncGenerator[bytes]:
        """The bytes of a file. A fetch that breaks goes on where it was, at another coordinator too."""
        persistence = Persistence(self._source.patience)
        at = 0
        while True:
            request = _wire_artifacts.fetch_artifact(job_id, attempt, name, at)
            persistence.connecting()
            try:
                answers = self._source.stream("FetchArtifact", request, persistence.left_seconds)
                async with aclosing(answers) as pieces:
                    async for piece in pieces:
                        persistence.good()
                        at += len(piece.chunk)
                        if piece.chunk:
                            yield piece.chunk
            except (UnavailableError, QuotaError) as error:
                await persistence.pause(error)
                continue
            return
