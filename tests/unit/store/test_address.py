"""What a REDIS_URL may say of a store of several servers."""

from __future__ import annotations

import pytest

from qgjob_coordinator.store.address import Kind, parse
from qgjob_coordinator.store.connection import check_url


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "name", "one"),
    [
        (
            "redis+sentinel://a:1,b:2,c/qg",
            Kind.SENTINEL,
            (("a", 1), ("b", 2), ("c", 26_379)),
            "qg",
            "redis://host:9",
        ),
        (
            "rediss+sentinel://me:p%40ss@[::1]:1/q.g-1/3",
            Kind.SENTINEL,
            (("::1", 1),),
            "q.g-1",
            "rediss://me:p%40ss@host:9/3",
        ),
        ("redis+cluster://:pw@a,b:7", Kind.CLUSTER, (("a", 6379), ("b", 7)), "", "redis://:pw@host:9"),
        (
            "rediss+cluster://a/0?health_check_interval=2",
            Kind.CLUSTER,
            (("a", 6379),),
            "",
            "rediss://host:9?health_check_interval=2",
        ),
    ],
)
def test_the_hosts_are_found_and_the_rest_is_of_each_server(
    url: str, kind: Kind, hosts: tuple[tuple[str, int], ...], name: str, one: str
) -> None:
    address = parse(url)
    assert (address.kind, address.hosts, address.name, address.url_of(("host", 9))) == (kind, hosts, name, one)
    assert (
        address.sentinel_url_of(("s", 1))
        == f"{one.partition(':')[0]}://s:1{one.partition('?')[1]}{one.partition('?')[2]}"
    )
    check_url(url)


def test_an_address_of_ipv6_is_put_in_brackets() -> None:
    assert parse("redis+cluster://a").url_of(("::1", 7)) == "redis://[::1]:7"


def test_sentinels_may_have_a_login_of_their_own() -> None:
    address = parse("redis+sentinel://u:p@a/qg?sentinel_username=s&sentinel_password=t%2F&protocol=2")
    assert address.sentinel_url_of(("h", 1)) == "redis://s:t%2F@h:1?protocol=2"
    assert address.url_of(("h", 1)) == "redis://u:p@h:1?protocol=2"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/",
        "redis+sentinel://a:1/na me",
        "redis+sentinel://a:1/qg/x",
        "redis+sentinel:///qg",
        "redis+sentinel://a:0/qg",
        "redis+sentinel://a:1,,b/qg",
        "redis+sentinel://a:1/qg?foo=bar",
        "redis+cluster://a:1/2",
        "redis+cluster://a:99999",
        "redis+cluster://u:hunter/2@a b",
        "redis+other://a",
        "unix+sentinel://a/qg",
    ],
)
def test_what_is_wrong_is_told_with_what_to_write(url: str) -> None:
    with pytest.raises(ValueError, match=r"^is not .*; write .*redis\+(sentinel|cluster)://HOST:PORT") as told:
        check_url(url)
    assert "hunter" not in str(told.value)
