"""Builds: from protobuf messages to models."""

from __future__ import annotations

from qgjob import _enums as enums
from qgjob._builds import Build, BuildPage, PushedBuild
from qgjob._wire import Words, read_time
from qgjob_proto.v1 import builds_pb2

PUSH_OUTCOME = Words(enums.PushOutcome, builds_pb2.PushOutcome)


def read_build(message: builds_pb2.Build) -> Build:
    """A build."""
    return Build(
        org_id=message.org_id,
        app_version_id=message.app_version_id,
        platform=message.platform,
        kind=message.kind,
        digest=message.digest,
        size_bytes=message.size_bytes,
        file_name=message.file_name,
        format=message.format,
        package=message.package,
        version_name=message.version_name or None,
        version_code=message.version_code or None,
        pushed_at=read_time(message.pushed_at),
    )


def read_pushed(message: builds_pb2.PushBuildResponse) -> PushedBuild:
    """What a push did."""
    return PushedBuild(read_build(message.build), PUSH_OUTCOME.read(message.outcome), message.uploaded)


def read_build_page(message: builds_pb2.ListBuildsResponse) -> BuildPage:
    """One page of builds."""
    return BuildPage(message.next_page_token or None, tuple(map(read_build, message.builds)))
