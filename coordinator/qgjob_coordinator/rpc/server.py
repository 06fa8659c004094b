"""The gRPC server: services, health, reflection, keepalive, graceful stop."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from qgjob_coordinator.errors import PortTakenError
from qgjob_coordinator.listening import listeners
from qgjob_coordinator.rpc.agents import AgentServicer
from qgjob_coordinator.rpc.artifacts import ArtifactServicer
from qgjob_coordinator.rpc.builds import BuildServicer
from qgjob_coordinator.rpc.fleet import FleetServicer
from qgjob_coordinator.rpc.interceptor import CallInterceptor
from qgjob_coordinator.rpc.jobs import JobServicer
from qgjob_coordinator.rpc.suites import SuiteServicer
from qgjob_coordinator.telemetry import Telemetry
from qgjob_proto.v1 import (
    agent_pb2,
    agent_pb2_grpc,
    artifacts_pb2,
    artifacts_pb2_grpc,
    builds_pb2,
    builds_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    suites_pb2,
    suites_pb2_grpc,
)

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What an agent may say at once: a Hello that shows 4,000 attempts. Requests are held to less by the interceptor."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_METADATA_BYTES = 16 * 1024

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_ANSWER_BYTES),
    ("grpc.max_metadata_size", MAX_METADATA_BYTES),
    # A peer that stopped is noticed within 15 s; agents and clients ping as often, so that must be allowed.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
]

SERVICES = tuple(
    d.services_by_name[n].full_name
    for d, n in (
        (jobs_pb2.DESCRIPTOR, "JobService"),
        (fleet_pb2.DESCRIPTOR, "FleetService"),
        (builds_pb2.DESCRIPTOR, "BuildService"),
        (artifacts_pb2.DESCRIPTOR, "ArtifactService"),
        (suites_pb2.DESCRIPTOR, "SuiteService"),
        (agent_pb2.DESCRIPTOR, "AgentService"),
    )
)


class RpcServer:
    """Serves on one address; `port` is set by `start`. One that `shares_port` does so with servers that do too."""

    def __init__(
        self,
        jobs: JobServicer,
        fleet: FleetServicer,
        builds: BuildServicer,
        artifacts: ArtifactServicer,
        suites: SuiteServicer,
        agents: AgentServicer,
        telemetry: Telemetry,
        *,
        shares_port: bool = False,
    ) -> None:
        self._shares_port = shares_port
        # Else two servers would share the port silently.
        options = [("grpc.so_reuseport", int(shares_port)), *OPTIONS]
        self._calls = CallInterceptor(telemetry)
        self._server = grpc.aio.server(interceptors=[self._calls], options=options)
        self._health = health.aio.HealthServicer()
        jobs_pb2_grpc.add_JobServiceServicer_to_server(jobs, self._server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(fleet, self._server)
        builds_pb2_grpc.add_BuildServiceServicer_to_server(builds, self._server)
        artifacts_pb2_grpc.add_ArtifactServiceServicer_to_server(artifacts, self._server)
        suites_pb2_grpc.add_SuiteServiceServicer_to_server(suites, self._server)
        agent_pb2_grpc.add_AgentServiceServicer_to_server(agents, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Binds and serves. Raises as `listeners` does, for GRPC_PORT."""
        # gRPC tells of a port in use in lines of its own, and not why: so it is tried first; a shared one is held.
        if not self._shares_port:
            for listener in await listeners(host, port, "GRPC_PORT"):
                listener.close()
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            self.port = self._server.add_insecure_port(address)
        except RuntimeError as e:
            # It could be had a moment ago, or the parent holds it.
            raise PortTakenError(f"can't be used on {host}; set another port", field="GRPC_PORT") from e
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """What health says, for the server and for each service."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *SERVICES):
            await self._health.set(name, status)

    async def stop(self, grace_seconds: float) -> None:
        """Takes no new calls, ends watches and logs, lets other calls end within the grace, then cuts them."""
        await self._health.enter_graceful_shutdown()
        stopping = asyncio.create_task(self._server.stop(grace_seconds))
        await asyncio.sleep(0)  # nobody is to come back here
        self._calls.cut_streams()
        await stopping
