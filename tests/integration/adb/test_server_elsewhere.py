"""An adb server that is not where adb looks for one: tests talk to the devices that the agent has found there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qgjob_proto.v1 import types_pb2 as types
from tests.fakes import packages
from tests.fakes.adb_provider import EMULATOR, NEEDS_ADB, NO_ADB
from tests.fakes.adb_server import FakeAdbServer, FakeDevice
from tests.fakes.agent_process import AgentProcess
from tests.fakes.coordinator_stub import CoordinatorStub, assignment

# Without the variable adb would start a server of its own at its usual port.
SCRIPT = '[ -n "$ANDROID_ADB_SERVER_PORT" ] && adb -s "$QGJOB_UDID" shell echo from the test'


@pytest.mark.skipif(NO_ADB, reason=NEEDS_ADB)
async def test_a_test_finds_its_device_behind_the_agents_adb_server(tmp_path: Path) -> None:
    packages.write(tmp_path / "v1.apk", packages.apk(package="com.example.shop"))
    device = FakeDevice(EMULATOR)
    async with FakeAdbServer(device) as adb, CoordinatorStub() as stub:
        environ = {
            "QGJOB_COORDINATOR": stub.address,
            "ADB_ENABLED": "true",
            "ADB_PORT": adb.port,
            "BUILDS_TEMPLATE": tmp_path / "{app_version_id}.apk",
            "RUNNER": "command",
            "COMMAND_ARGV": json.dumps(["sh", "-c", SCRIPT]),
        }
        async with AgentProcess(tmp_path, **environ):
            session = await stub.session()
            found = {info.device_id for info in (await session.message("inventory")).changed}
            assert found == {f"agent-1.{EMULATOR}"}
            session.assign(assignment("t1", f"agent-1.{EMULATOR}"))
            finished = (await session.report("t1", "finished")).finished
            assert (finished.outcome, finished.error) == (types.OUTCOME_PASSED, "")
            assert session.log_of("t1") == b"from the test\n"
    assert "echo from the test" in device.commands
