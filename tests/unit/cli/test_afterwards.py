"""What is done with the jobs of a run at its end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgjob import AsyncClient
from qgjob.cli.afterwards import Outputs, afterwards
from qgjob.cli.ci_words import Ci
from qgjob.testing import MockTransport
from qgjob_proto.v1 import artifacts_pb2
from tests.unit.cli.conftest import Capture


async def test_of_evidence_that_is_not_there_no_folder_is_named(tmp_path: Path, stderr: Capture) -> None:
    async def answer(method: str, _: Any) -> Any:
        assert method == "ListArtifacts"
        return artifacts_pb2.ListArtifactsResponse()

    outputs = Outputs.of(str(tmp_path / "evidence"), None, Ci.NONE, (), {}, None)
    async with AsyncClient(transports=[MockTransport(answer)]) as client:
        assert await afterwards(client, [], outputs, "r1") == 0
    assert stderr() == "no evidence is kept: the attempts left no files\n"
    assert not (tmp_path / "evidence").exists()
