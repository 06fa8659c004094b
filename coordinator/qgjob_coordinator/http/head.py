"""HEAD, which load balancers and monitors ask with: every GET answers it, with the same status and headers."""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

NOT_ALLOWED = 405


class Head:
    """Lets the application see a GET and keeps the body back. What it says of allowed methods names HEAD as well."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = scope["method"] == "HEAD"

        async def answered(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == NOT_ALLOWED:
                _allow_head(MutableHeaders(scope=message))
            elif message["type"] == "http.response.body" and asked:
                message = {**message, "body": b""}
            await send(message)

        await self._app({**scope, "method": "GET"} if asked else scope, receive, answered)


def _allow_head(headers: MutableHeaders) -> None:
    methods = [method.strip() for method in headers.get("allow", "").split(",")]
    if "GET" in methods and "HEAD" not in methods:
        headers["allow"] = ", ".join(sorted([*methods, "HEAD"]))
