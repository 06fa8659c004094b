"""Suites: from protobuf messages to models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob._suites import PushedSuite, Suite, SuitePage
from qgjob._wire import read_time

if TYPE_CHECKING:
    from qgjob_proto.v1 import suites_pb2


def read_suite(message: suites_pb2.Suite) -> Suite:
    """A suite."""
    return Suite(
        org_id=message.org_id,
        digest=message.digest,
        size_bytes=message.size_bytes,
        file_count=message.file_count,
        name=message.name,
        pushed_at=read_time(message.pushed_at),
    )


def read_pushed(message: suites_pb2.PushSuiteResponse) -> PushedSuite:
    """What a push did."""
    return PushedSuite(read_suite(message.suite), message.uploaded)


def read_suite_page(message: suites_pb2.ListSuitesResponse) -> SuitePage:
    """One page of suites."""
    return SuitePage(message.next_page_token or None, tuple(map(read_suite, message.suites)))
