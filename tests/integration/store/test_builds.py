"""What app versions have as builds, and how long contents live: one rule in each test."""

from __future__ import annotations

from redis import Redis

from qgjob_coordinator.model.builds import slot_for
from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.store import builds, keys
from qgjob_coordinator.store.store import Store
from qgjob_coordinator.store.types.contents import Content, NamedBuild, NameWord
from tests.fakes import scenes
from tests.fakes.builds import APK, SIMULATOR, build, digest, kept
from tests.fakes.jobs import NOW, spec
from tests.fakes.store_audit import audit
from tests.fakes.store_dump import dump

LATER = NOW + 60_000
ANDROID = "android device"


async def there(store: Store, app_version_id: str = "v1", slot: str = ANDROID) -> NamedBuild:
    found = await store.builds.get("acme", app_version_id, slot)
    assert found is not None
    return found


async def content(store: Store, text: str = "one") -> Content:
    found = await store.builds.content("acme", digest(text))
    assert found is not None
    return found


async def test_a_build_is_given_as_it_was_pushed(store: Store) -> None:
    for wanted in (build(), build("two", "v1", facts=SIMULATOR), build("two", "a-version", facts=SIMULATOR)):
        assert await kept(store, wanted) is NameWord.NEW
    found = await store.builds.all("acme")
    assert [b.build for b in found] == [
        build("two", "a-version", facts=SIMULATOR),
        build(),
        build("two", "v1", facts=SIMULATOR),
    ]
    assert {b.used_at for b in found} == {NOW}
    assert (await store.builds.content("acme", digest("two"))) == Content(
        digest("two"), 2, NOW, 3, SIMULATOR, (await content(store, "two")).found
    )
    assert await store.builds.get("acme", "v2", ANDROID) is None
    assert await store.builds.all("globex") == []


async def test_the_same_content_again_changes_nothing_and_tells_what_is_there(store: Store, raw: Redis) -> None:
    await kept(store, build())
    before = dump(raw)
    word, found = await store.builds.give(build(now=LATER, file_name="renamed.apk"), LATER, replace=False)
    assert (word, found) == (NameWord.SAME, await there(store))
    assert found is not None
    assert found.build == build()
    assert dump(raw) == before


async def test_another_content_is_refused_and_changes_nothing(store: Store, raw: Redis) -> None:
    await kept(store, build())
    await store.builds.expect("acme", digest("two"), 3, APK, NOW)
    before = dump(raw)
    word, found = await store.builds.give(build("two"), LATER, replace=False)
    assert (word, found) == (NameWord.CONFLICT, await there(store))
    assert dump(raw) == before


async def test_a_content_is_replaced_when_asked_and_its_names_are_counted(store: Store, raw: Redis) -> None:
    await kept(store, build())
    await kept(store, build("one", "v2"))
    assert await kept(store, build("two"), LATER, replace_=True) is NameWord.REPLACED
    assert (await there(store)).build == build("two")
    assert [(await content(store, text)).names for text in ("one", "two")] == [1, 1]
    assert (await content(store)).since == LATER
    assert audit(raw) == []


async def test_a_build_can_be_replaced_by_what_it_replaced(store: Store, raw: Redis) -> None:
    for text in ("one", "two", "one"):
        await kept(store, build(text), replace_=True)
    assert (await there(store)).build.digest == digest("one")
    assert audit(raw) == []


async def test_a_content_that_nobody_announced_is_not_named(store: Store, raw: Redis) -> None:
    assert await store.builds.give(build(), NOW, replace=False) == (NameWord.LEAVING, None)
    assert raw.keys("qg:o:*") == []


async def test_a_content_that_leaves_is_neither_expected_nor_named_until_it_is_gone(store: Store) -> None:
    assert await store.builds.expect("acme", digest("one"), 3, APK, NOW)
    mine = await store.builds.leave("acme", await content(store), LATER)
    assert mine is not None
    assert mine == await content(store)
    assert (mine.since, mine.leaving_at) == (None, LATER)
    assert not await store.builds.expect("acme", digest("one"), 3, APK, LATER)
    assert (await store.builds.give(build(), LATER, replace=False))[0] is NameWord.LEAVING
    await store.builds.left("acme", mine)
    assert await store.builds.content("acme", digest("one")) is None
    assert await kept(store, build(), LATER) is NameWord.NEW


async def test_a_content_with_a_name_does_not_leave(store: Store) -> None:
    await store.builds.expect("acme", digest("one"), 3, APK, NOW)
    seen = await content(store)
    await kept(store, build())
    assert await store.builds.leave("acme", seen, LATER) is None
    assert await store.builds.leave("acme", await content(store), LATER) is None
    assert (await content(store)).names == 1


async def test_a_content_that_was_announced_again_does_not_leave(store: Store) -> None:
    await store.builds.expect("acme", digest("one"), 3, APK, NOW)
    seen = await content(store)
    await store.builds.expect("acme", digest("one"), 3, APK, LATER)
    assert await store.builds.leave("acme", seen, LATER) is None
    assert (await content(store)).since == LATER


async def test_a_content_has_one_remover(store: Store) -> None:
    await store.builds.expect("acme", digest("one"), 3, APK, NOW)
    seen = await content(store)
    first = await store.builds.leave("acme", seen, LATER)
    assert first is not None
    assert await store.builds.leave("acme", seen, LATER + 1) is None
    second = await store.builds.leave("acme", first, LATER + 2)  # who finds the mark of one that is gone
    assert second is not None
    await store.builds.left("acme", first)  # it is too late for that one
    assert await content(store) == second
    await store.builds.left("acme", second)
    assert await store.builds.content("acme", digest("one")) is None


async def test_a_content_that_does_not_leave_is_not_taken_for_gone(store: Store) -> None:
    await store.builds.expect("acme", digest("one"), 3, APK, NOW)
    mine = await store.builds.leave("acme", await content(store), LATER)
    assert mine is not None
    await store.builds.left("acme", mine)
    await store.builds.expect("acme", digest("one"), 3, APK, LATER)
    await store.builds.left("acme", mine)
    assert (await content(store)).since == LATER


async def test_use_is_noted(store: Store) -> None:
    await kept(store, build())
    assert await store.builds.used(await there(store), LATER)
    assert (await there(store)).used_at == LATER
    assert (await there(store)).build == build()


async def test_use_of_a_build_that_was_replaced_does_not_bring_it_back(store: Store) -> None:
    await kept(store, build())
    seen = await there(store)
    await kept(store, build("two"), replace_=True)
    assert not await store.builds.used(seen, LATER)
    assert (await there(store)).build == build("two")


async def test_a_forgotten_build_leaves_a_content_without_a_name(store: Store, raw: Redis) -> None:
    await kept(store, build())
    assert await store.builds.forget(await there(store), LATER)
    assert await store.builds.all("acme") == []
    assert ((await content(store)).names, (await content(store)).since) == (0, LATER)
    assert audit(raw) == []


async def test_a_build_that_was_used_meanwhile_is_not_forgotten(store: Store) -> None:
    await kept(store, build())
    seen = await there(store)
    await store.builds.used(seen, LATER)
    assert not await store.builds.forget(seen, LATER)
    assert (await there(store)).used_at == LATER


async def test_a_claim_answers_with_the_build_for_its_device(store: Store) -> None:
    await scenes.open_session(store)
    await kept(store, build())
    await kept(store, build("two", facts=SIMULATOR))
    jobs = [spec(n) for n in range(1, 5)]
    await scenes.submit(store, *jobs)
    wanted = [slot_for(Target.EMULATOR, p) for p in ("android", "ios", None)]
    names = ["" if slot is None else builds.name("v1", slot) for slot in wanted]
    claims = [
        scenes.device_claim(job, device_id=f"d{n}", build=name)
        for n, (job, name) in enumerate(zip(jobs, [*names, "v1 ios device"], strict=True))
    ]
    answers = await store.leases.claim("acme", claims, NOW, None, None)
    assert [len(a.grants) for a in answers] == [1, 1, 1, 1]
    found = [None if a.build is None else a.build.build for a in answers]
    assert found == [build(), build("two", facts=SIMULATOR), None, None]


def test_which_build_fits_a_device() -> None:
    assert slot_for(Target.EMULATOR, "android") == "android device"
    assert slot_for(Target.DEVICE, "android") == "android device"
    assert slot_for(Target.EMULATOR, "ios") == "ios simulator"
    assert slot_for(Target.DEVICE, "ios") == "ios device"
    assert slot_for(Target.BROWSERSTACK, "ios") == "ios device"
    assert slot_for(Target.EMULATOR, None) is None


async def test_builds_are_of_their_org(store: Store, raw: Redis) -> None:
    await kept(store, build())
    assert await kept(store, build("two", org_id="globex")) is NameWord.NEW
    assert await store.builds.content("globex", digest("one")) is None
    assert {k for k in raw.keys("*") if not k.startswith(keys.FLEET)} == {
        f"{keys.org(org)}{key}" for org in ("acme", "globex") for key in ("bd", "bc")
    }


async def test_a_round_is_told_for_which_devices_each_app_version_has_a_build(store: Store) -> None:
    for n, version in enumerate(("v1", "v2", "v3"), 1):
        await scenes.submit(store, spec(n, app_version_id=version))
    assert {g.pushed for g in (await store.snapshots.org("acme", 8)).groups} == {frozenset()}
    await kept(store, build())
    await kept(store, build("two", facts=SIMULATOR))
    await kept(store, build("two", "v2", facts=SIMULATOR))
    await kept(store, build("two", "v3", org_id="globex"))
    pushed = {"v1": {ANDROID, "ios simulator"}, "v2": {"ios simulator"}, "v3": set()}
    assert {g.app_version_id: g.pushed for g in (await store.snapshots.org("acme", 8)).groups} == pushed
    assert await store.builds.pushed("acme", ["v1", "v2", "v3"]) == pushed
    assert await store.builds.pushed("acme", []) == {}
    assert await store.builds.forget(await there(store), NOW)
    assert (await store.builds.pushed("acme", ["v1"])) == {"v1": {"ios simulator"}}
