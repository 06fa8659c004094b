"""FleetService over a dict of devices, for the coordinator in memory."""

from __future__ import annotations

from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from qgjob_proto.v1 import fleet_pb2, types_pb2


class RefusalError(Exception):
    """An answer other than OK, with its details."""

    def __init__(self, code: str, message: str, field_path: str | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.field = code, message, field_path

    def to_status(self) -> Any:
        status = status_pb2.Status(code=code_pb2.Code.Value(self.code), message=self.message)
        detail = AnyMessage()
        if self.field and self.code == "INVALID_ARGUMENT":
            violation = error_details_pb2.BadRequest.FieldViolation(field=self.field, description=self.message)
            detail.Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        else:
            metadata = {"field": self.field} if self.field else {}
            detail.Pack(error_details_pb2.ErrorInfo(reason=self.code, domain="qgjob", metadata=metadata))
        status.details.append(detail)
        return rpc_status.to_status(status)


class FakeFleet:
    """Devices and agents, and what operators tell them."""

    devices: dict[str, types_pb2.Device]
    agents: dict[str, types_pb2.Agent]
    diagnosis: fleet_pb2.DiagnoseResponse

    def _device(self, device_id: str) -> types_pb2.Device:
        if device_id not in self.devices:
            raise RefusalError("NOT_FOUND", f"no device {device_id}", "device_id")
        return self.devices[device_id]

    def _chosen(self, request: Any) -> list[types_pb2.Device]:
        if request.HasField("device_id"):
            return [self._device(request.device_id)]
        return [device for device in self.devices.values() if device.agent_id == request.agent_id]

    async def list_agents(self, request: fleet_pb2.ListAgentsRequest) -> fleet_pb2.ListAgentsResponse:
        del request
        return fleet_pb2.ListAgentsResponse(agents=self.agents.values(), count=len(self.agents))

    async def list_devices(self, request: fleet_pb2.ListDevicesRequest) -> fleet_pb2.ListDevicesResponse:
        found = [each for each in self.devices.values() if request.agent_id in ("", each.agent_id)]
        return fleet_pb2.ListDevicesResponse(devices=found, count=len(found))

    async def diagnose(self, request: fleet_pb2.DiagnoseRequest) -> fleet_pb2.DiagnoseResponse:
        del request
        return self.diagnosis

    async def drain(self, request: fleet_pb2.DrainRequest) -> fleet_pb2.DrainResponse:
        for device in self._chosen(request):
            device.state, device.reason = types_pb2.DEVICE_STATE_DRAINING, request.reason
            if request.HasField("until"):
                device.until.CopyFrom(request.until)
        return fleet_pb2.DrainResponse(devices=self._chosen(request))

    async def resume(self, request: fleet_pb2.ResumeRequest) -> fleet_pb2.ResumeResponse:
        for device in self._chosen(request):
            device.state, device.health = types_pb2.DEVICE_STATE_IDLE, types_pb2.DEVICE_HEALTH_GOOD
        return fleet_pb2.ResumeResponse(devices=self._chosen(request))

    async def forget_agent(self, request: fleet_pb2.ForgetAgentRequest) -> fleet_pb2.ForgetAgentResponse:
        if request.agent_id not in self.agents:
            raise RefusalError("NOT_FOUND", f"no agent {request.agent_id}", "agent_id")
        if self.agents[request.agent_id].state != types_pb2.AGENT_STATE_OFFLINE:
            raise RefusalError("FAILED_PRECONDITION", f"agent {request.agent_id} is online", "agent_id")
        del self.agents[request.agent_id]
        forgotten = [each for each in self.devices.values() if each.agent_id == request.agent_id]
        for device in forgotten:
            del self.devices[device.device_id]
        return fleet_pb2.ForgetAgentResponse(devices=forgotten)

    async def set_device_health(self, request: fleet_pb2.SetDeviceHealthRequest) -> fleet_pb2.SetDeviceHealthResponse:
        device = self._device(request.device_id)
        device.health, device.reason = request.health, request.reason
        return fleet_pb2.SetDeviceHealthResponse(device=device)

    async def reserve_device(self, request: fleet_pb2.ReserveDeviceRequest) -> fleet_pb2.ReserveDeviceResponse:
        device = self._device(request.device_id)
        if (device.state == types_pb2.DEVICE_STATE_RESERVED) != request.extend:
            raise RefusalError("FAILED_PRECONDITION", f"device {device.device_id} is reserved already, or is not")
        reason = request.reason or (device.reason if request.extend else "")
        device.state, device.reason = types_pb2.DEVICE_STATE_RESERVED, reason
        device.until.CopyFrom(request.until)
        return fleet_pb2.ReserveDeviceResponse(device=device)

    async def release_device(self, request: fleet_pb2.ReleaseDeviceRequest) -> fleet_pb2.ReleaseDeviceResponse:
        device = self._device(request.device_id)
        device.state = types_pb2.DEVICE_STATE_IDLE
        return fleet_pb2.ReleaseDeviceResponse(device=device)

    async def set_device_labels(self, request: fleet_pb2.SetDeviceLabelsRequest) -> fleet_pb2.SetDeviceLabelsResponse:
        device = self._device(request.device_id)
        device.labels.clear()
        device.labels.update(request.labels)
        return fleet_pb2.SetDeviceLabelsResponse(device=device)
