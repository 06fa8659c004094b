"""Small evidence waits for no film, orgs take turns, and what is away of one org holds up no other's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from qgjob_agent.evidence import preparing, sending
from qgjob_agent.evidence.batching import MOST_ATTEMPTS, is_small, together
from qgjob_agent.evidence.choice import Bounds, Named
from qgjob_agent.evidence.keeper import EvidenceKeeper
from qgjob_agent.evidence.pushing import EvidenceAwayError, Sent
from qgjob_agent.evidence.shelf import Evidence, Kept, Whose
from qgjob_agent.evidence.waiting import Waiting
from tests.fakes.waiting import until
from tests.unit.agent.test_evidence import FAILED, Bench

FILM_BYTES = 5_000_000
WIDE = Bounds(100, 100_000_000)


class Orgs:
    """Coordinators that keep films until they are let go, and of some orgs nothing. Says what is under way."""

    def __init__(self) -> None:
        self.let_go = asyncio.Event()
        self.away: set[str] = set()
        self.under_way: list[str] = []
        self.most_at_once = 0
        self.films_at_once = 0
        self.got: list[str] = []

    async def __call__(self, several: Sequence[Evidence]) -> list[Sent]:
        kind = "small" if is_small(several[0]) else "film"
        assert kind == "small" or len(several) == 1
        self.under_way.append(kind)
        self.most_at_once = max(self.most_at_once, len(self.under_way))
        self.films_at_once = max(self.films_at_once, self.under_way.count("film"))
        try:
            if kind == "film":
                await self.let_go.wait()
            sent = [self._take(each) for each in several]
            if len(sent) == 1 and isinstance(sent[0], EvidenceAwayError):
                raise sent[0]  # a call that fails says not whose fault it is
            return sent
        finally:
            self.under_way.remove(kind)

    def _take(self, evidence: Evidence) -> Sent:
        org, _, token = evidence.whose.job_id.partition("~")
        if org in self.away:
            return EvidenceAwayError(f"the store of {org} is away")
        self.got.append(token)
        return 1


class Shop:
    """An agent with evidence of several orgs."""

    def __init__(self, folder: Path) -> None:
        self.bench = Bench(folder)
        self.orgs = Orgs()
        self.bench.coordinator = self.orgs  # type: ignore[assignment]

    @asynccontextmanager
    async def running(self, spool_bytes: int = 100_000_000) -> AsyncIterator[EvidenceKeeper]:
        async with self.bench.running(spool_bytes=spool_bytes, bounds=WIDE) as keeper:
            yield keeper

    def left(self, keeper: EvidenceKeeper, token: str, size: int = 10, org: str = "acme") -> None:
        what, out, output = self.bench.ended(token, film__webm="f" * size)
        keeper.take(replace(what, job_id=f"{org}~{token}"), out, output, FAILED)

    async def got(self, *tokens: str) -> None:
        await until(lambda: set(tokens) <= set(self.orgs.got), lambda: f"only these came: {self.orgs.got}", seconds=10)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "GATHER_SECONDS", 0.0)


async def test_small_evidence_does_not_wait_for_a_film_that_is_sent(shop: Shop) -> None:
    async with shop.running() as keeper:
        shop.left(keeper, "film", FILM_BYTES)
        await until(lambda: "film" in shop.orgs.under_way, "the film is not sent")
        for n in range(3):
            shop.left(keeper, f"t{n}")
            await shop.got(f"t{n}")
        assert "film" in shop.orgs.under_way
        shop.orgs.let_go.set()
        await shop.got("film")
        await shop.bench.empty()


async def test_nor_for_one_that_is_looked_at(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 MB are hashed, on a disk that may be busy."""
    reached, let_go, really = threading.Event(), threading.Event(), preparing.digest_of

    def slow(path: Path) -> str:
        if path.stat().st_size == FILM_BYTES:
            reached.set()
            let_go.wait(10)
        return really(path)

    monkeypatch.setattr(preparing, "digest_of", slow)
    shop.orgs.let_go.set()
    async with shop.running() as keeper:
        shop.left(keeper, "film", FILM_BYTES)
        await until(reached.is_set, "the film is not looked at")
        shop.left(keeper, "t1")
        await shop.got("t1")
        assert shop.orgs.got == ["t1"]
        let_go.set()
        await shop.got("film")


async def test_one_film_and_one_call_of_small_evidence_are_under_way_at_most(shop: Shop) -> None:
    """Each has some of its bytes in memory. Of one org the film that was left first goes first."""
    async with shop.running() as keeper:
        for n in range(3):
            shop.left(keeper, f"film{n}", FILM_BYTES)
        await until(lambda: "film" in shop.orgs.under_way, "no film is sent")
        for n in range(3):
            shop.left(keeper, f"t{n}")
        await shop.got("t0", "t1", "t2")
        shop.orgs.let_go.set()
        await shop.got("film0", "film1", "film2")
    assert (shop.orgs.most_at_once, shop.orgs.films_at_once) == (2, 1)
    assert [each for each in shop.orgs.got if each.startswith("film")] == ["film0", "film1", "film2"]


async def test_what_is_away_of_one_org_holds_up_no_other_one(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(sending, "LONGEST_PAUSE_SECONDS", 60.0)
    shop.orgs.away, shop.orgs.let_go = {"beta"}, asyncio.Event()
    shop.orgs.let_go.set()
    with capture_logs() as logs:
        async with shop.running() as keeper:
            shop.left(keeper, "b1", org="beta")
            shop.left(keeper, "b2", FILM_BYTES, org="beta")
            for n in range(3):
                shop.left(keeper, f"t{n}")
                shop.left(keeper, f"film{n}", FILM_BYTES)
                await shop.got(f"t{n}", f"film{n}")
        assert not {"b1", "b2"} & set(shop.orgs.got)
    said = [each["event"] for each in logs if each["event"] in ("evidence_waits", "evidence_goes_on")]
    assert said == ["evidence_waits"] * 2  # for what is small and for films; none goes on while beta's waits


async def test_what_is_too_much_is_the_oldest_of_the_org_that_has_most(shop: Shop) -> None:
    """An org that leaves films costs no other one its evidence; what is on its way goes on."""
    async with shop.running(spool_bytes=3 * FILM_BYTES + 1_000) as keeper:
        shop.left(keeper, "quiet", 2 * FILM_BYTES, org="beta")
        await until(lambda: "film" in shop.orgs.under_way, "nothing is sent")
        with capture_logs() as logs:
            for n in range(4):
                shop.left(keeper, f"loud{n}", FILM_BYTES // 2)
            await until(lambda: len(lost(logs)) == 2, lambda: f"these are given up: {lost(logs)}", seconds=10)
        assert lost(logs) == ["acme~loud0", "acme~loud1"]
        shop.orgs.let_go.set()
        await shop.got("quiet", "loud0", "loud1", "loud2", "loud3")  # that they were there is told


def lost(logs: Sequence[Any]) -> list[str]:
    return [each["job_id"] for each in logs if each["event"] == "evidence_lost"]


# ---- the order, without any I/O ----


def of(org: str, numbers: Iterable[int], size: int = 10) -> list[Evidence]:
    return [
        Evidence(
            Path(f"/{org}/{n}"),
            Whose(f"{org}~{n}", f"{org}{n}", 1, "d", None, 1, n),
            (Kept(Named("log.txt", "log", "log", size), "0"),),
        )
        for n in numbers
    ]


def names(several: Iterable[Evidence]) -> list[str]:
    return [each.whose.token for each in several]


def waiting(*several: list[Evidence]) -> Waiting:
    made = Waiting()
    for each in several:
        for one in each:
            made.add(one)
    return made


def test_an_org_with_much_leaves_the_others_their_places_in_a_call() -> None:
    made = waiting(of("acme", range(300)), of("beta", range(2)), of("core", range(1)))
    batch = together(made.ready(0.0))
    assert names(batch)[:6] == ["acme0", "beta0", "core0", "acme1", "beta1", "acme2"]
    assert len(batch) == MOST_ATTEMPTS


def test_orgs_take_turns_where_one_goes_at_a_time() -> None:
    made = waiting(of("acme", range(3), FILM_BYTES), of("beta", range(1), FILM_BYTES))
    order = []
    while made:
        batch = together(made.ready(0.0))
        made.took(batch)
        for each in batch:
            made.remove(each)
        order += names(batch)
    assert order == ["acme0", "beta0", "acme1", "acme2"]
    assert (made.size_bytes, made.due) == (0, None)


def test_more_orgs_than_a_call_takes_have_their_turns_too() -> None:
    made = waiting(*(of(f"o{n}", range(2)) for n in range(150)))
    first = together(made.ready(0.0))
    made.took(first)
    for each in first:
        made.remove(each)
    assert names(together(made.ready(0.0)))[:50] == [f"o{n}0" for n in range(100, 150)]


def test_an_org_that_is_held_back_is_tried_after_its_pause_and_longer_each_time() -> None:
    made = waiting(of("acme", range(1)), of("beta", range(1)))

    def pause(failures: int) -> float:
        return 10.0 * failures

    made.hold_back("beta", 100.0, pause)
    assert names(made.ready(109.0)) == ["acme0"]
    assert names(made.ready(110.0)) == ["acme0", "beta0"]
    made.hold_back("beta", 110.0, pause)
    made.remove(of("acme", [0])[0])
    assert (made.due, made.held_back) == (130.0, True)
    made.well("beta")
    assert (made.due, made.held_back) == (0.0, False)


def test_what_is_counted_is_what_waits() -> None:
    made = waiting(of("acme", range(3)))
    (again,) = of("acme", [0], 25)
    made.add(again)
    assert (names(made), made.size_bytes, len(made)) == (["acme1", "acme2", "acme0"], 45, 3)
    made.remove(again)
    made.remove(again)
    assert (made.size_bytes, len(made)) == (20, 2)
