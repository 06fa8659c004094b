"""Artifacts: between models and protobuf messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob import _enums as enums
from qgjob._artifacts import Artifact, ArtifactOmission, ArtifactPage
from qgjob._wire import Words, read_time
from qgjob_proto.v1 import artifacts_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

ARTIFACT_KIND = Words(enums.ArtifactKind, artifacts_pb2.ArtifactKind)


def list_artifacts(
    job_ids: Sequence[str], attempt: int | None, page_size: int, page_token: str | None
) -> artifacts_pb2.ListArtifactsRequest:
    """One page of what is kept of some jobs."""
    return artifacts_pb2.ListArtifactsRequest(
        job_ids=job_ids, attempt=attempt, page_size=page_size, page_token=page_token or ""
    )


def fetch_artifact(job_id: str, attempt: int, name: str, offset: int) -> artifacts_pb2.FetchArtifactRequest:
    """A file from an offset on."""
    return artifacts_pb2.FetchArtifactRequest(job_id=job_id, attempt=attempt, name=name, offset=offset)


def read_artifact_page(message: artifacts_pb2.ListArtifactsResponse) -> ArtifactPage:
    """One page of what is kept of some jobs."""
    artifacts = tuple(
        Artifact(
            job_id=a.job_id,
            attempt=a.attempt,
            name=a.name,
            kind=ARTIFACT_KIND.read(a.kind),
            digest=a.digest,
            size_bytes=a.size_bytes,
            pushed_at=read_time(a.pushed_at),
        )
        for a in message.artifacts
    )
    omissions = tuple(ArtifactOmission(o.job_id, o.attempt, o.files, o.size_bytes, o.reason) for o in message.omissions)
    complete = tuple((each.job_id, each.attempt) for each in message.complete)
    return ArtifactPage(message.next_page_token or None, artifacts, omissions, complete)
