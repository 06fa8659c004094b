"""Which agent uploads a content to a provider of devices: one rule in each test."""

from __future__ import annotations

from redis import Redis

from qgjob_coordinator.store import keys
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import UploadWord
from tests.fakes.store_dump import dump

ACCOUNT, DIGEST, OTHER = "a" * 64, "d" * 64, "e" * 64
KEY = f"{keys.FLEET}up:{ACCOUNT}:{DIGEST}"
ONE, TWO = "one" * 8, "two" * 8
HELD_MS, KNOWN_MS = 60_000, 600_000


async def test_the_first_who_wants_to_upload_does_and_others_wait(store: Store, raw: Redis) -> None:
    uploads = store.uploads
    assert await uploads.want(ACCOUNT, DIGEST, ONE, HELD_MS) == (UploadWord.YOURS, "")
    before = dump(raw)
    assert await uploads.want(ACCOUNT, DIGEST, TWO, HELD_MS) == (UploadWord.TAKEN, "")
    assert dump(raw) == before
    assert await uploads.want(ACCOUNT, OTHER, TWO, HELD_MS) == (UploadWord.YOURS, "")


async def test_who_uploads_says_so_again_and_has_it_for_as_long_again(store: Store, raw: Redis) -> None:
    await store.uploads.want(ACCOUNT, DIGEST, ONE, 1_000)
    assert await store.uploads.want(ACCOUNT, DIGEST, ONE, HELD_MS) == (UploadWord.YOURS, "")
    assert 1_000 < int(raw.pttl(KEY)) <= HELD_MS  # type: ignore[arg-type]


async def test_what_is_uploaded_is_known_to_all_for_a_while(store: Store, raw: Redis) -> None:
    await store.uploads.want(ACCOUNT, DIGEST, ONE, HELD_MS)
    known = (UploadWord.KNOWN, "bs://one")
    assert await store.uploads.done(ACCOUNT, DIGEST, ONE, "bs://one", KNOWN_MS) == known
    assert await store.uploads.want(ACCOUNT, DIGEST, TWO, HELD_MS) == known
    assert HELD_MS < int(raw.pttl(KEY)) <= KNOWN_MS  # type: ignore[arg-type]


async def test_an_uploader_that_says_nothing_loses_it_and_can_change_nothing_any_more(store: Store, raw: Redis) -> None:
    await store.uploads.want(ACCOUNT, DIGEST, ONE, HELD_MS)
    raw.delete(KEY)  # as its time does
    stale = (UploadWord.STALE, "")
    assert await store.uploads.done(ACCOUNT, DIGEST, ONE, "bs://one", KNOWN_MS) == stale
    assert await store.uploads.want(ACCOUNT, DIGEST, TWO, HELD_MS) == (UploadWord.YOURS, "")
    before = dump(raw)
    assert await store.uploads.done(ACCOUNT, DIGEST, ONE, "bs://one", KNOWN_MS) == stale
    assert await store.uploads.give_up(ACCOUNT, DIGEST, ONE) == stale
    assert dump(raw) == before


async def test_an_upload_that_is_given_up_is_the_next_ones(store: Store) -> None:
    await store.uploads.want(ACCOUNT, DIGEST, ONE, HELD_MS)
    for _ in range(2):
        assert await store.uploads.give_up(ACCOUNT, DIGEST, ONE) == (UploadWord.FREE, "")
    assert await store.uploads.want(ACCOUNT, DIGEST, TWO, HELD_MS) == (UploadWord.YOURS, "")


async def test_what_is_known_stays_known_whoever_gives_up(store: Store) -> None:
    await store.uploads.want(ACCOUNT, DIGEST, ONE, HELD_MS)
    await store.uploads.done(ACCOUNT, DIGEST, ONE, "bs://one", KNOWN_MS)
    assert await store.uploads.give_up(ACCOUNT, DIGEST, ONE) == (UploadWord.STALE, "")
    assert await store.uploads.want(ACCOUNT, DIGEST, TWO, HELD_MS) == (UploadWord.KNOWN, "bs://one")
