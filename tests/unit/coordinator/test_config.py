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


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("BLOB_URL", "ftp://host/x", "has the scheme ftp; give a folder, file:///PATH, s3://BUCKET/PREFIX"),
        ("BLOB_URL", "s3://", "names no bucket"),
        ("BLOB_URL", "az://account", "names no container"),
        ("BLOB_URL", "file://host/x", "names no folder of this machine"),
        ("BUILD_MAX_MB", "0", "is out of range; give a number from 1 to 100000"),
        ("BUILD_RETENTION_DAYS", "-1", "is out of range; give a number from 0 to 3650"),
        ("BUILD_RETENTION_DAYS", "1.5", "is not"),
    ],
)
def test_where_builds_are_kept_is_checked(monkeypatch: pytest.MonkeyPatch, name: str, value: str, problem: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError) as told:
        Settings.load()
    assert str(told.value).startswith(f"{name}: {value!r} (from the environment) {problem}")


def test_builds_are_kept_below_the_working_folder_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLOB_URL", "BLOB_SPOOL_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"QGJOB_{name}", raising=False)
    s = Settings.load()
    assert (s.blob_url, str(s.blob_spool_dir)) == (".qgjob/blobs", ".qgjob/spool")
    monkeypatch.setenv("BLOB_URL", "s3://bucket/prefix")
    assert Settings.load().blob_url == "s3://bucket/prefix"
