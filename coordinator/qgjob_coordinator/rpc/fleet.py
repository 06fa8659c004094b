"""FleetService: thin over service/."""

from __future__ import annotations

from qgjob_coordinator.rpc import fleet_shapes, requests
from qgjob_coordinator.rpc.jobs import Context, Identify
from qgjob_coordinator.service.calls.operating import FleetService
from qgjob_coordinator.service.views import pages
from qgjob_coordinator.service.views.diagnosis import Doctor
from qgjob_proto.v1 import fleet_pb2 as pb
from qgjob_proto.v1 import fleet_pb2_grpc


class FleetServicer(fleet_pb2_grpc.FleetServiceServicer):
    """The methods of qgjob.v1.FleetService."""

    def __init__(self, fleet: FleetService, doctor: Doctor, identify: Identify) -> None:
        self._fleet = fleet
        self._doctor = doctor
        self._identify = identify

    async def ListAgents(self, request: pb.ListAgentsRequest, context: Context) -> pb.ListAgentsResponse:  # noqa: N802
        """All agents, by id."""
        agents = await self._fleet.agents(await self._identify(context))
        page, token = pages.cut(
            agents, [a.agent_id for a in agents], request.page_size, request.page_token, pages.scope("agents")
        )
        return pb.ListAgentsResponse(
            agents=[fleet_shapes.agent_out(a) for a in page], count=len(page), next_page_token=token
        )

    async def ListDevices(  # noqa: N802
        self, request: pb.ListDevicesRequest, context: Context
    ) -> pb.ListDevicesResponse:
        """All devices, by id."""
        target = requests.target_in(request.target)
        agent_id = requests.given(request, "agent_id")
        principal = await self._identify(context)
        page, token = await self._fleet.devices(principal, agent_id, target, request.page_size, request.page_token)
        return pb.ListDevicesResponse(
            devices=[fleet_shapes.device_out(d) for d in page], count=len(page), next_page_token=token
        )

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.DrainResponse:  # noqa: N802
        """Nothing new from now on."""
        devices = await self._fleet.drain(
            await self._identify(context),
            agent_id=requests.given(request, "agent_id"),
            device_id=requests.given(request, "device_id"),
            reason=request.reason or None,
            until=requests.time_in("until", request.until) if request.HasField("until") else None,
        )
        return pb.DrainResponse(devices=[fleet_shapes.device_out(d) for d in devices])

    async def Resume(self, request: pb.ResumeRequest, context: Context) -> pb.ResumeResponse:  # noqa: N802
        """Ends a drain, a maintenance or a quarantine."""
        devices = await self._fleet.resume(
            await self._identify(context),
            agent_id=requests.given(request, "agent_id"),
            device_id=requests.given(request, "device_id"),
        )
        return pb.ResumeResponse(devices=[fleet_shapes.device_out(d) for d in devices])

    async def SetDeviceHealth(  # noqa: N802
        self, request: pb.SetDeviceHealthRequest, context: Context
    ) -> pb.SetDeviceHealthResponse:
        """An operator's word on a device."""
        until = requests.time_in("until", request.until) if request.HasField("until") else None
        device = await self._fleet.set_health(
            await self._identify(context),
            request.device_id,
            requests.health_in(request.health),
            request.reason or None,
            until,
        )
        return pb.SetDeviceHealthResponse(device=fleet_shapes.device_out(device))

    async def ReserveDevice(  # noqa: N802
        self, request: pb.ReserveDeviceRequest, context: Context
    ) -> pb.ReserveDeviceResponse:
        """Keeps a device for a person, or does so for another time."""
        until = requests.time_in("until", request.until) if request.HasField("until") else None
        device = await self._fleet.reserve(
            await self._identify(context), request.device_id, until, request.reason or None, extend=request.extend
        )
        return pb.ReserveDeviceResponse(device=fleet_shapes.device_out(device))

    async def ReleaseDevice(  # noqa: N802
        self, request: pb.ReleaseDeviceRequest, context: Context
    ) -> pb.ReleaseDeviceResponse:
        """Ends a reservation."""
        device = await self._fleet.release(await self._identify(context), request.device_id)
        return pb.ReleaseDeviceResponse(device=fleet_shapes.device_out(device))

    async def SetDeviceLabels(  # noqa: N802
        self, request: pb.SetDeviceLabelsRequest, context: Context
    ) -> pb.SetDeviceLabelsResponse:
        """Replaces the labels that operators set."""
        device = await self._fleet.set_labels(await self._identify(context), request.device_id, dict(request.labels))
        return pb.SetDeviceLabelsResponse(device=fleet_shapes.device_out(device))

    async def ForgetAgent(  # noqa: N802
        self, request: pb.ForgetAgentRequest, context: Context
    ) -> pb.ForgetAgentResponse:
        """An agent that is gone for good."""
        devices = await self._fleet.forget_agent(await self._identify(context), request.agent_id)
        return pb.ForgetAgentResponse(devices=[fleet_shapes.device_out(d) for d in devices])

    async def Diagnose(self, request: pb.DiagnoseRequest, context: Context) -> pb.DiagnoseResponse:  # noqa: N802
        """What is wrong, and what to do."""
        del request
        return fleet_shapes.diagnosis_out(await self._doctor.diagnose(await self._identify(context)))
