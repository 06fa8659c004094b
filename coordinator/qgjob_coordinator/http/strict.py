"""Routes that take what they know and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from qgjob_coordinator.errors import InvalidError
from qgjob_coordinator.http.body import decode


class _Parsed(Request):
    """A request whose body is read strictly."""

    async def json(self) -> Any:
        return decode(await self.body())


class StrictRoute(APIRoute):
    """Refuses query parameters that are unknown or given twice, and bodies that are no strict JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with the checks in front."""
        handle = super().get_route_handler()
        known = frozenset(p.alias for p in self.dependant.query_params)
        takes_body = self.body_field is not None

        async def checked(request: Request) -> Response:
            check_query(request, known)
            parsed = _Parsed(request.scope, request.receive)
            body = await parsed.body()
            if body:
                # Decoded here already: what FastAPI would make of a failure is not the contract's.
                value = decode(body)
                if not takes_body and value not in (None, {}):
                    raise InvalidError("body", "is not taken by this call; send none")
            return await handle(parsed)

        return checked


def check_query(request: Request, known: frozenset[str]) -> None:
    """Raises InvalidError for a query parameter that is not `known`, or given twice."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        field = ascii(name)[1:-1]
        if name not in known:
            what = f"use {', '.join(sorted(known))}" if known else "this call takes none"
            raise InvalidError(field, f"is no query parameter of this call; {what}")
        if name in seen:
            raise InvalidError(field, "is given twice")
        seen.add(name)
