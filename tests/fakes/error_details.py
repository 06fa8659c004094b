"""What the details of a gRPC error say."""

from __future__ import annotations

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status


def error_field(error: grpc.aio.AioRpcError) -> str | None:
    """The field that the details of an error name."""
    status = rpc_status.from_call(error)
    for detail in status.details if status else ():
        bad, info = error_details_pb2.BadRequest(), error_details_pb2.ErrorInfo()
        if detail.Unpack(bad):
            return bad.field_violations[0].field
        if detail.Unpack(info) and "field" in info.metadata:
            return info.metadata["field"]
    return None
