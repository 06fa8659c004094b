"""Bodies over the limit are refused while they come, whatever their sender says of their size."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import Message

from qgjob_coordinator.http.guard import MAX_BODY_BYTES, MAX_DISCARDED_BYTES

JSON = {"Content-Type": "application/json"}
PIECE = b" " * 65536


async def test_declared_too_large(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/jobs", content=b" " * (MAX_BODY_BYTES + 1), headers=JSON)
    assert answer.status_code == 413
    assert (answer.json()["error"], answer.json()["field"]) == ("too_large", "body")
    assert answer.headers["connection"] == "close"


async def test_exactly_the_limit_is_read(http: httpx2.AsyncClient) -> None:
    answer = await http.post("/api/jobs", content=b"{}".ljust(MAX_BODY_BYTES), headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["field"] == "org_id"


async def test_chunked_without_a_size(http: httpx2.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY_BYTES // len(PIECE) + 1):
            yield PIECE

    answer = await http.post("/api/jobs", content=pieces(), headers=JSON)
    assert (answer.status_code, answer.json()["field"]) == (413, "body")


def scope(*headers: tuple[bytes, bytes]) -> dict[str, object]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/api/jobs",
        "raw_path": b"/api/jobs",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 3000),
    }


async def drive(app: FastAPI, request: dict[str, object], last: Message, most: int) -> tuple[int, list[Message]]:
    """Feeds pieces until the application has answered or `most` were read, then `last`; pieces read, and the answer."""
    read = 0
    sent: list[Message] = []

    async def receive() -> Message:
        nonlocal read
        read += 1
        return {"type": "http.request", "body": PIECE, "more_body": True} if read <= most else last

    async def send(message: Message) -> None:
        sent.append(message)

    await app(request, receive, send)
    return read, sent


async def test_an_endless_body_is_cut(app: FastAPI) -> None:
    chunked = scope((b"transfer-encoding", b"chunked"))
    read, sent = await drive(app, chunked, {"type": "http.disconnect"}, most=10**6)
    assert sent[0]["status"] == 413
    assert read <= MAX_DISCARDED_BYTES // len(PIECE) + 1


async def test_a_sender_that_waits_for_a_word_sends_nothing(app: FastAPI) -> None:
    size = str(MAX_BODY_BYTES + 1).encode()
    waits = scope((b"content-length", size), (b"expect", b"100-continue"))
    read, sent = await drive(app, waits, {"type": "http.disconnect"}, most=10)
    assert sent[0]["status"] == 413
    assert read == 0


@pytest.mark.parametrize("pieces", [0, 3])
async def test_a_client_that_goes_away_gets_no_answer(app: FastAPI, pieces: int) -> None:
    chunked = scope((b"transfer-encoding", b"chunked"))
    _, sent = await drive(app, chunked, {"type": "http.disconnect"}, most=pieces)
    assert sent == []
