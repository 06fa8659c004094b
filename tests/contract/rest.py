"""The calls over REST."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.contract.api import Json, Reply

CLASSES = {
    400: "invalid",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    413: "exhausted",
    429: "exhausted",
    503: "unavailable",
}


class RestApi:
    """Thin: no retries, no rules."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def submit(self, body: Json) -> Reply:
        return await self._call("POST", "/api/jobs", json=body)

    async def submit_many(self, bodies: list[Json]) -> Reply:
        return await self._call("POST", "/api/jobs", json={"jobs": bodies})

    async def get(self, job_id: str) -> Reply:
        return await self._call("GET", f"/api/jobs/{job_id}")

    async def list(self, **query: Any) -> Reply:
        return await self._call("GET", "/api/jobs", params=query)

    async def cancel(self, job_id: str, **query: Any) -> Reply:
        return await self._call("DELETE", f"/api/jobs/{job_id}", params=query)

    async def retry(self, job_id: str, **body: object) -> Reply:
        return await self._call("POST", f"/api/jobs/{job_id}/retry", json=body)

    async def groups(self, **query: Any) -> Reply:
        return await self._call("GET", "/api/jobs/groups", params=query)

    async def devices(self, **query: Any) -> Reply:
        return await self._call("GET", "/api/jobs/devices", params=query)

    async def stats(self, **query: Any) -> Reply:
        return await self._call("GET", "/api/jobs/stats", params=query)

    async def _call(self, method: str, path: str, **request: Any) -> Reply:
        answer = await self._client.request(method, path, **request)
        assert answer.headers["content-type"] == "application/json"
        value = answer.json()
        if answer.status_code not in (200, 201):
            assert list(value)[:2] == ["error", "message"], value
            return Reply(CLASSES[answer.status_code], value.get("field"), value["message"])
        created = answer.status_code == 201 if path == "/api/jobs" and method == "POST" else None
        return Reply("ok", value=value, created=created)
