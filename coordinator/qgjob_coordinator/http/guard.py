"""What stands before every route: foreign origins, other content types and large bodies go no further."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qgjob_coordinator.errors import ForbiddenError, InvalidError, TooLargeError
from qgjob_coordinator.http.status import error_response
from qgjob_coordinator.service.request_id import REQUEST_ID
from qgjob_coordinator.service.validation import shown

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * MAX_BODY_BYTES
"""How much of a body that is too large is still read, so that its sender gets to see the answer."""

MUTATING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON = re.compile(r"application/json(?:\s*;\s*charset=\"?utf-8\"?)?\s*\Z", re.IGNORECASE)
# A name that no foreign DNS can point at this machine.
_LITERAL = re.compile(r"(?:localhost|\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:]+\])(?::\d+)?\Z")


class ClientGoneError(Exception):
    """The client went away in the middle of its body; there is nobody to answer."""


class Cors(CORSMiddleware):
    """CORS whose refusals are the contract's error body."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "HEAD", "POST", "DELETE"],
            allow_headers=["Content-Type", "Authorization", REQUEST_ID],
            expose_headers=["Retry-After", REQUEST_ID],
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks first."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        asked = shown(request_headers.get("origin"))
        return error_response(
            ForbiddenError(f"origin {asked} may not make this call; see ALLOWED_ORIGINS", field="origin"),
            {"Vary": "Origin"},
        )


class Guard:
    """Checks calls that change something. A page of a foreign site can't make the browser of a developer send them."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or scope["method"] not in MUTATING:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_origin(scope, headers)
            _check_type(headers)
            body = await _read(headers, receive)
        except ClientGoneError:
            return
        except (ForbiddenError, InvalidError) as e:
            await error_response(e)(scope, receive, send)
        except TooLargeError as e:
            await error_response(e, {"Connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)

    def _check_origin(self, scope: Scope, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return
        host = headers.get("host", "")
        if _LITERAL.match(host) and origin == f"{scope['scheme']}://{host}":
            return  # our own page
        raise ForbiddenError(
            f"origin {shown(origin)} may not make this call; add it to ALLOWED_ORIGINS", field="origin"
        )


def _check_type(headers: Headers) -> None:
    """Raises InvalidError for a body that is not JSON by its type: browsers send others across sites, unasked."""
    given = headers.get("content-type")
    bodiless = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
    if given is None and bodiless:
        return  # browsers name their origin with such a call, so it was checked
    if given is None:
        raise InvalidError("content-type", "is missing; send application/json")
    if not _JSON.match(given):
        raise InvalidError("content-type", f"{shown(given)} is not taken; send application/json")


async def _read(headers: Headers, receive: Receive) -> bytes:
    declared = headers.get("content-length", "")
    if declared.isdigit() and int(declared) > MAX_BODY_BYTES and "expect" in headers:
        raise _too_large()  # it waits for a word before it sends: nothing to discard
    body = bytearray()
    size = 0
    async for chunk in _chunks(receive):
        size += len(chunk)
        if size <= MAX_BODY_BYTES:
            body += chunk
        elif size > MAX_DISCARDED_BYTES:
            break
    if size > MAX_BODY_BYTES:
        raise _too_large()
    return bytes(body)


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _too_large() -> TooLargeError:
    return TooLargeError(f"the body is over {MAX_BODY_BYTES} bytes; send several calls", field="body")


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
