"""Builds on an agent's disk: fetched once, verified, resumed, bounded; and which one an assignment means."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import structlog
from structlog.testing import capture_logs

from qgjob_agent.builds import cache as cache_module
from qgjob_agent.builds.addresses import Addresses, check
from qgjob_agent.builds.base import BuildAwayError, BuildUnresolvedError
from qgjob_agent.builds.cache import IN_USE_SECONDS, ContentCache
from qgjob_agent.builds.resolved import ResolvedBuilds
from qgjob_agent.builds.template import WANTED, is_address
from qgjob_coordinator.model.builds import SLOTS, slot_words
from tests.fakes.agent_core import assignment
from tests.fakes.waiting import until

CONTENT = os.urandom(300_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()
PIECE = 64_000


class Coordinator:
    """What gives contents; `breaks_after` bytes it is away, and `gate` holds each of its pieces."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.asked: list[int] = []
        self.breaks_after: int | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.ended = 0

    async def give(self, offset: int) -> AsyncGenerator[bytes, None]:
        self.asked.append(offset)
        try:
            for at in range(offset, len(self.content), PIECE):
                await self.gate.wait()
                if self.breaks_after is not None and at - offset >= self.breaks_after:
                    raise BuildAwayError("the connection broke")
                yield self.content[at : at + PIECE]
        finally:
            self.ended += 1

    def __call__(self, org_id: str, digest: str, offset: int) -> AsyncGenerator[bytes, None]:
        assert (org_id, digest) == ("acme", DIGEST)
        return self.give(offset)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def cache(tmp_path: Path, clock: Clock) -> ContentCache:
    return ContentCache(tmp_path / "builds", 1_000_000, structlog.get_logger(), wall_seconds=clock)


def files(cache: ContentCache) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in cache._folder.iterdir()}


async def test_a_build_is_fetched_once_for_all_who_want_it_at_once(cache: ContentCache) -> None:
    source = Coordinator()
    paths = await asyncio.gather(*[cache.get(DIGEST, len(CONTENT), source.give, ending=".apk") for _ in range(5)])
    assert {path.read_bytes() for path in paths} == {CONTENT}
    assert await cache.get(DIGEST, len(CONTENT), source.give, ending=".apk") == paths[0]
    assert source.asked == [0]


async def test_a_fetch_that_broke_goes_on_where_it_ended(cache: ContentCache) -> None:
    source = Coordinator()
    source.breaks_after = 2 * PIECE
    with pytest.raises(BuildAwayError, match="the connection broke"):
        await cache.get(DIGEST, len(CONTENT), source.give, ending=".apk")
    source.breaks_after = None
    path = await cache.get(DIGEST, len(CONTENT), source.give, ending=".apk")
    assert path.read_bytes() == CONTENT
    assert source.asked == [0, 2 * PIECE]


async def test_what_an_earlier_fetch_left_wrong_is_fetched_anew(cache: ContentCache) -> None:
    cache._folder.mkdir()
    (cache._folder / f"{DIGEST}.part").write_bytes(b"x" * PIECE)
    source = Coordinator()
    path = await cache.get(DIGEST, len(CONTENT), source.give, ending=".apk")
    assert path.read_bytes() == CONTENT
    assert source.asked == [PIECE, 0]


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"?", CONTENT + b"?"], ids=["short", "other", "long"])
async def test_another_content_is_never_handed_out(cache: ContentCache, content: bytes) -> None:
    with pytest.raises(BuildAwayError):
        await cache.get(DIGEST, len(CONTENT), Coordinator(content).give, ending=".apk")
    assert f"{DIGEST}.apk" not in files(cache)
    assert (await cache.get(DIGEST, len(CONTENT), Coordinator().give, ending=".apk")).read_bytes() == CONTENT


async def test_the_last_one_who_waits_ends_the_fetch_and_the_next_one_goes_on(cache: ContentCache) -> None:
    source = Coordinator()
    source.gate.clear()
    waiting = [asyncio.create_task(cache.get(DIGEST, len(CONTENT), source.give, ending=".apk")) for _ in range(2)]
    await until(lambda: source.asked, "nothing is asked for")
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    assert source.ended == 0
    waiting[1].cancel()
    await asyncio.gather(waiting[1], return_exceptions=True)
    await until(lambda: source.ended == 1, "the fetch goes on for nobody")
    source.gate.set()
    assert (await cache.get(DIGEST, len(CONTENT), source.give, ending=".apk")).read_bytes() == CONTENT


async def test_one_who_comes_while_a_fetch_ends_gets_a_whole_file(cache: ContentCache) -> None:
    source = Coordinator()
    source.gate.clear()
    first = asyncio.create_task(cache.get(DIGEST, len(CONTENT), source.give, ending=".apk"))
    await until(lambda: source.asked, "nothing is asked for")
    first.cancel()
    second = asyncio.create_task(cache.get(DIGEST, len(CONTENT), source.give, ending=".apk"))
    source.gate.set()
    assert (await second).read_bytes() == CONTENT


async def test_the_least_recently_used_goes_when_room_is_needed(cache: ContentCache, clock: Clock) -> None:
    contents = [os.urandom(300_000) for _ in range(4)]
    digests = [hashlib.sha256(content).hexdigest() for content in contents]

    async def get(n: int) -> None:
        clock.seconds += 2 * IN_USE_SECONDS
        await cache.get(digests[n], 300_000, Coordinator(contents[n]).give, ending=".apk")

    for n in (0, 1, 2, 0, 3):
        await get(n)
    assert set(files(cache)) == {f"{digests[n]}.apk" for n in (0, 2, 3)}


async def test_what_an_installation_may_read_stays_and_the_log_says_that_it_is_too_much(cache: ContentCache) -> None:
    contents = [os.urandom(300_000) for _ in range(4)]
    with capture_logs() as lines:
        for content in contents:
            await cache.get(hashlib.sha256(content).hexdigest(), 300_000, Coordinator(content).give, ending=".apk")
    assert len(files(cache)) == 4
    assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["build_cache_over"]


async def test_one_that_can_never_fit_says_which_setting_to_raise_and_is_another_hosts(cache: ContentCache) -> None:
    with pytest.raises(BuildAwayError, match=r"1000001 bytes, more than builds\.cache_mb.*\(1000000 bytes\)") as caught:
        await cache.get(DIGEST, 1_000_001, Coordinator().give, ending=".apk")
    assert caught.value.host_unfit


async def test_a_source_that_says_nothing_is_away(cache: ContentCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "SILENCE_SECONDS", 0.05)
    source = Coordinator()
    source.gate.clear()
    with pytest.raises(BuildAwayError, match=r"nothing of the build came for 0\.05 s"):
        await cache.get(DIGEST, len(CONTENT), source.give, ending=".apk")


async def test_a_disk_that_refuses_is_no_fault_of_the_build(cache: ContentCache) -> None:
    cache._folder.parent.joinpath("builds").write_text("a file is in the way")
    with pytest.raises(BuildAwayError, match="can't write"):
        await cache.get(DIGEST, len(CONTENT), Coordinator().give, ending=".apk")


# ---- which build ----


def resolved(cache: ContentCache, template: str | None, pushed: Coordinator | None = None) -> ResolvedBuilds:
    addresses = Addresses(cache) if template is not None and is_address(template) else None
    return ResolvedBuilds(cache, pushed or Coordinator(), template, addresses)


def wants(digest: str | None = None) -> Any:
    what = assignment("t1", app="v7", digest=digest)
    what.build_format, what.build_package, what.build_size_bytes = "apk", "com.acme.shop", len(CONTENT)
    return what


async def test_what_was_pushed_is_taken_before_any_template(cache: ContentCache, tmp_path: Path) -> None:
    build = await resolved(cache, f"{tmp_path}/{{app_version_id}}.apk").get(wants(DIGEST), "android", "device")
    assert (build.path.read_bytes(), build.digest) == (CONTENT, DIGEST)
    assert (build.format, build.package) == ("apk", "com.acme.shop")
    assert build.called == "the build of 'v7'", "it lies there by its digest, which nobody knows it by"


async def test_without_a_template_it_says_what_to_push(cache: ContentCache) -> None:
    with pytest.raises(BuildUnresolvedError) as caught:
        await resolved(cache, None).get(wants(), "android", "device")
    assert str(caught.value) == (
        "no build of v7 was pushed for android (.apk or .aab): push it with "
        "`qgjob builds push FILE.apk --org-id=acme --app-version-id=v7`, or set builds.template for this agent"
    )


def test_agent_and_coordinator_call_builds_the_same() -> None:
    of_agent = {f"{platform} {kind}": wanted.words for (platform, kind), wanted in WANTED.items()}
    assert of_agent == {slot: slot_words(slot) for slot in SLOTS}


async def test_a_template_names_a_file_and_its_digest_is_told(cache: ContentCache, tmp_path: Path) -> None:
    (tmp_path / "v7-android.apk").write_bytes(CONTENT)
    builds = resolved(cache, f"{tmp_path}/{{app_version_id}}-{{platform}}.apk")
    build = await builds.get(wants(), "android", "device")
    assert (build.path, build.digest, build.format) == (tmp_path / "v7-android.apk", DIGEST, "apk")
    (tmp_path / "v7-android.apk").write_bytes(b"another one")
    assert (await builds.get(wants(), "android", "device")).digest == hashlib.sha256(b"another one").hexdigest()


@pytest.mark.parametrize(
    ("name", "platform", "problem"),
    [
        ("{app_version_id}.apk", "android", "is not there"),
        ("{app_version_id}.apk", "ios", "is no build for ios"),
        ("{app_version_id}.tar", "android", "is no build for android"),
        ("{app_version_id}", "ios", "is no build for ios"),
    ],
)
async def test_a_template_that_names_nothing_fit_says_so(
    cache: ContentCache, tmp_path: Path, name: str, platform: str, problem: str
) -> None:
    with pytest.raises(BuildUnresolvedError, match=problem):
        await resolved(cache, f"{tmp_path}/{name}").get(wants(), platform, "device")


# ---- addresses ----


class Web:
    """A server of one file over HTTP, as simple as may be: HEAD, GET, ranges or none."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str | None]] = []
        self.status = 200
        self.ranges = True
        self.cut_at: int | None = None
        self.etag = '"1"'
        self.always_packs = False
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method = head.split(" ", 1)[0]
        wanted = next((x.split(":", 1)[1].strip() for x in head.split("\r\n") if x.lower().startswith("range:")), None)
        self.requests.append((method, wanted))
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        code = 206 if start and self.status == 200 else self.status
        body = CONTENT[start:]
        if self.always_packs or "accept-encoding: identity" not in head.lower():
            body = gzip.compress(body)
        packed = ["content-encoding: gzip"] if body[:2] == b"\x1f\x8b" else []
        says = [f"content-length: {len(body)}", f"etag: {self.etag}", "connection: close", *packed]
        lines = [f"HTTP/1.1 {code} x", *says]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        if method == "GET":
            writer.write(body if self.cut_at is None else body[: self.cut_at])
        await writer.drain()
        writer.close()


@pytest_asyncio.fixture
async def web() -> AsyncIterator[Web]:
    made = Web()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/builds"
    yield made
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("ranges", [True, False])
async def test_an_address_is_fetched_once_and_a_broken_fetch_goes_on(
    cache: ContentCache, web: Web, ranges: bool
) -> None:
    web.ranges, web.cut_at = ranges, PIECE
    builds = resolved(cache, f"{web.url}/{{app_version_id}}.apk")
    with pytest.raises(BuildAwayError):
        await builds.get(wants(), "android", "device")
    web.cut_at = None
    for _ in range(2):
        build = await builds.get(wants(), "android", "device")
        assert (build.path.read_bytes(), build.digest) == (CONTENT, DIGEST)
    gets = [wanted for method, wanted in web.requests if method == "GET"]
    assert len(gets) == 2
    assert gets[1] is not None


async def test_an_address_with_another_entity_tag_is_another_build(cache: ContentCache, web: Web) -> None:
    builds = resolved(cache, f"{web.url}/{{app_version_id}}.apk")
    await builds.get(wants(), "android", "device")
    web.etag = '"2"'
    await builds.get(wants(), "android", "device")
    assert [method for method, _ in web.requests].count("GET") == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, BuildUnresolvedError), (410, BuildUnresolvedError), (403, BuildAwayError), (503, BuildAwayError)],
)
async def test_what_is_not_there_will_not_come_and_what_is_refused_may(
    cache: ContentCache, web: Web, status: int, error: type[Exception]
) -> None:
    web.status = status
    with pytest.raises(error, match=f"HTTP {status}"):
        await resolved(cache, f"{web.url}/{{app_version_id}}.apk").get(wants(), "android", "device")


async def test_a_server_that_packs_what_it_sends_is_asked_not_to_and_refused_where_it_does(
    cache: ContentCache, web: Web
) -> None:
    web.always_packs = True
    with pytest.raises(BuildAwayError, match="packed as gzip"):
        await resolved(cache, f"{web.url}/{{app_version_id}}.apk").get(wants(), "android", "device")


def test_a_build_by_https_comes_from_nowhere_else() -> None:
    there, elsewhere = "https://builds.example/1.apk", "http://files.example/1.apk"
    redirect = httpx2.Response(302, request=httpx2.Request("GET", there))
    for url, history, error in (
        (there, [], None),
        (elsewhere, [redirect], "leads to http://files.example/1.apk"),
        (
            there,
            [httpx2.Response(302, request=httpx2.Request("GET", elsewhere))],
            "leads to http://files.example/1.apk",
        ),
    ):
        answer = httpx2.Response(200, request=httpx2.Request("GET", url), history=history)
        with pytest.raises(BuildUnresolvedError, match=error) if error else contextlib.nullcontext():
            check(there, answer)


async def test_a_server_that_is_away_is_no_fault_of_the_build(cache: ContentCache) -> None:
    with pytest.raises(BuildAwayError, match=r"127\.0\.0\.1:1"):
        await resolved(cache, "http://127.0.0.1:1/{app_version_id}.apk").get(wants(), "android", "device")
