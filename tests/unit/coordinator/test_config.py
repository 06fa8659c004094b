"""Settings of the coordinator that are more than a number: what they accept, and what a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_coordinator.__main__ import main
from qgjob_coordinator.config import Settings
from qgjob_coordinator.errors import ConfigError


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test."""
    monkeypatch.chdir(tmp_path)
    for name in ("ORG_WEIGHTS", "QGJOB_ORG_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("acme=2,globex=0.5", {"acme": 2.0, "globex": 0.5}),
        (" acme = 2 , globex=1e1, ", {"acme": 2.0, "globex": 10.0}),
        ("acme=0.001,a.b-c_d=1000", {"acme": 0.001, "a.b-c_d": 1000.0}),
        ("", {}),
        (",", {}),
    ],
)
def test_weights_of_orgs(monkeypatch: pytest.MonkeyPatch, text: str, weights: dict[str, float]) -> None:
    monkeypatch.setenv("ORG_WEIGHTS", text)
    assert Settings.load().org_weights == weights


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ("Globex", "has no '='; write ORG=WEIGHT"),
        ("Globex=", "has the weight ''; use a number above 0"),
        ("Globex=much", "has the weight 'much'"),
        ("Globex=0", "has the weight '0'"),
        ("Globex=-1", "has the weight '-1'"),
        ("Globex=nan", "has the weight 'nan'"),
        ("Globex=inf", "has the weight 'inf'"),
        ("Globex=1001", "from 0.001 to 1000"),
        ("Globex=1=2", "has the weight '1=2'"),
        ("=2", "names no org"),
        ("two words=2", "names no org: 'two words' is not an id; use 1 to 128"),
        ("acme=3", "is the second one of org acme; keep one"),
    ],
)
def test_a_wrong_weight_is_told_with_its_pair_and_where_it_was_set(
    monkeypatch: pytest.MonkeyPatch, pair: str, problem: str
) -> None:
    monkeypatch.setenv("QGJOB_ORG_WEIGHTS", f"acme=2,{pair}")
    with pytest.raises(ConfigError) as told:
        Settings.load()
    message = str(told.value)
    assert message.startswith("QGJOB_ORG_WEIGHTS: ")
    assert "(from the environment)" in message
    assert f"the pair {pair!r} {problem}" in message or problem in message.partition(f"the pair {pair!r}")[2]


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@localhost:abc",
        "redis://:hunter2@localhost:99999",
        "redis://:hunter2@[::1",
        "redis://:hunter2@localhost:6379?foo=bar",
        "redis://localhost:6379?password=hunter2&socket_timeout=abc",
        "http://:hunter2@localhost",
        "redis:/:hunter2@localhost",
        "redis://:hunter2@localhost:0",
        "redis+sentinel://:hunter2@localhost:26379",
        "redis+sentinel://localhost/qg?sentinel_password=hunter2&foo=bar",
        "redis+cluster://:hunter2@localhost:0",
    ],
)
def test_a_url_that_no_connection_can_be_made_from_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    with pytest.raises(ConfigError, match=r"^REDIS_URL: '.*' \(from the environment\) is not .*; write") as told:
        Settings.load()
    assert "hunter2" not in told.value.message


@pytest.mark.parametrize(
    "url",
    [
        "redis://:a%2Fb@[::1]:6379/2",
        "unix:///run/redis.sock?db=1",
        "rediss://store",
        "redis+sentinel://:pw@a,b:26380/qg/1",
        "rediss+cluster://a,b:7000",
    ],
)
def test_urls_of_stores(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    assert Settings.load().redis_url == url


@pytest.mark.parametrize("origin", ["foo", "http://x/", "HTTP://x", "http://x:99999", "http://", "null"])
def test_what_no_browser_sends_is_no_origin(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("ALLOWED_ORIGINS", f"http://localhost:3000,{origin}")
    with pytest.raises(ConfigError, match=f"^ALLOWED_ORIGINS: .* has '{origin}', which no browser sends"):
        Settings.load()


def test_origins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_ORIGINS", "*, https://ci.example.org ,http://[::1]:8080")
    assert Settings.load().allowed_origins == ("*", "https://ci.example.org", "http://[::1]:8080")


def test_weights_are_read_from_the_file_too(tmp_path: Path) -> None:
    Path(".env").write_text("ORG_WEIGHTS=acme=2,globex=0.5\n")
    assert Settings.load().org_weights == {"acme": 2.0, "globex": 0.5}


def test_the_check_says_what_it_would_listen_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QGJOB_PORT", "4000")
    monkeypatch.setenv("QGJOB_GRPC_PORT", "4001")
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == "ok: coordinator, REST 127.0.0.1:4000, gRPC 127.0.0.1:4001, development\n"
