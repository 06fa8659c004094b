"""Asks the coordinators which agent uploads what. One of the places of gRPC in the agent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from qgjob_agent.devices.browserstack.apps import Answer, SharingAwayError, Word
from qgjob_proto.v1 import builds_pb2 as pb
from qgjob_proto.v1 import builds_pb2_grpc as pb_grpc

if TYPE_CHECKING:
    from qgjob_agent.stream.session import Coordinators

_ANSWER_SECONDS = 10.0
_OPTIONS = [("grpc.use_local_subchannel_pool", 1)]
_WORDS = {
    pb.UPLOAD_STATE_YOURS: Word.YOURS,
    pb.UPLOAD_STATE_TAKEN: Word.TAKEN,
    pb.UPLOAD_STATE_KNOWN: Word.KNOWN,
    pb.UPLOAD_STATE_STALE: Word.STALE,
    pb.UPLOAD_STATE_FREE: Word.STALE,
}


class SharedUploads:
    """See Uploads. Uploads are rare: each word has a connection of its own, to the first coordinator that answers."""

    def __init__(self, coordinators: Coordinators) -> None:
        self._coordinators = coordinators

    async def ask(self, account: str, digest: str, token: str, held_seconds: float) -> Answer:
        """See Uploads."""
        held = max(round(held_seconds), 1)
        return await self._say(pb.ShareUploadRequest(account=account, digest=digest, token=token, held_seconds=held))

    async def done(self, account: str, digest: str, token: str, app_url: str) -> Answer:
        """See Uploads."""
        return await self._say(pb.ShareUploadRequest(account=account, digest=digest, token=token, app_url=app_url))

    async def give_up(self, account: str, digest: str, token: str) -> Answer:
        """See Uploads."""
        return await self._say(pb.ShareUploadRequest(account=account, digest=digest, token=token, give_up=True))

    async def _say(self, request: pb.ShareUploadRequest) -> Answer:
        problems = []
        for address in self._coordinators.addresses:
            try:
                async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
                    told: pb.ShareUploadResponse = await pb_grpc.BuildServiceStub(channel).ShareUpload(
                        request, metadata=self._coordinators.metadata, timeout=_ANSWER_SECONDS
                    )
            except grpc.aio.AioRpcError as error:
                problems.append(f"{address}: {error.details() or error.code().name}")
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    problems[-1] = f"{address}: the coordinator is older than this agent; upgrade it"
                continue
            if told.state in _WORDS:
                return Answer(_WORDS[told.state], told.app_url)
            problems.append(f"{address}: the coordinator is newer and says {told.state}; upgrade this agent")
        raise SharingAwayError(f"no coordinator says which agent uploads it: {'; '.join(problems)}")
