"""The Lua files: documented, complete, and no newer than the oldest store that is supported."""

from __future__ import annotations

import re
import socket
import ssl
from pathlib import Path
from socket import gaierror

import pytest
from redis.asyncio import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from bench.scheduling import learning
from qgjob_coordinator.errors import StoreRightsError
from qgjob_coordinator.model.enums import Priority
from qgjob_coordinator.policy.rank import queue_score
from qgjob_coordinator.store import events, keys, names, scripts
from qgjob_coordinator.store.connection import MIN_VERSION, version_of
from qgjob_coordinator.store.faults import NoServerError
from qgjob_coordinator.store.rights import HOLD_SECONDS, UNNAMED, Rights

SCRIPTS = sorted(scripts.LUA.glob("*.lua"))
LIBRARIES = sorted(scripts.LUA.glob("lib/*.lua"))
SOURCES = sorted(scripts.LUA.parent.glob("*.py"))

# Commands that Redis 6.2 has, as far as they are used here. Look a new one up ("since") before it is added.
REDIS_6_2 = {
    *("DEL", "EXISTS", "PEXPIRE", "PTTL", "GET", "SET", "MGET", "MSET", "PUBLISH", "INFO", "PING"),
    *(
        "HDEL",
        "HEXISTS",
        "HGET",
        "HGETALL",
        "HINCRBY",
        "HKEYS",
        "HLEN",
        "HMGET",
        "HRANDFIELD",
        "HSCAN",
        "HSET",
        "HSETNX",
    ),
    *(
        "LINDEX",
        "LPOP",
        "LRANGE",
        "RPUSH",
        "SADD",
        "SCARD",
        "SISMEMBER",
        "SMEMBERS",
        "SREM",
        "TIME",
        "XADD",
        "XLEN",
        "XRANGE",
        "XREVRANGE",
    ),
    *("ZADD", "ZCARD", "ZCOUNT", "ZMSCORE", "ZRANGE", "ZRANGEBYSCORE", "ZREM", "ZREVRANGEBYSCORE", "ZSCORE"),
    *("EVAL", "EVALSHA"),
}
READS = {
    *("EXISTS", "GET", "HGET", "HGETALL", "HKEYS", "HMGET", "LRANGE", "SMEMBERS", "XLEN", "XRANGE", "XREVRANGE"),
    *("ZCARD", "ZMSCORE", "ZRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE"),
}
PLAIN_WRITES = {"SADD", "SREM"}
"""Of the sets of orgs; who takes a hint away looks again afterwards."""
# Options that came after 6.2.
TOO_NEW = re.compile(
    r"'P?EXPIRE',[^)]*'(NX|XX|GT|LT)'|'SET',[^)]*'GET'|setresp|acl_check_cmd|'(ZINTERCARD|LMPOP|ZMPOP)'"
)
INCLUDE = re.compile(r"^--!include (\S+)$", re.MULTILINE)
COMMAND_IN_LUA = re.compile(r"(?:call|later|many)\('([A-Z]+)'")
COMMAND_IN_PYTHON = re.compile(r'(?:execute_command|_call|_do)\(\s*"([A-Z]+)"|Step\(None, "", \("([A-Z]+)"')


def name(path: Path) -> str:
    return path.relative_to(scripts.LUA).as_posix()


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_a_script_says_what_it_does_takes_and_answers(path: Path) -> None:
    header = re.match(r"(?:--[^\n]*\n)+", path.read_text())
    assert header is not None
    first, *rest = header[0].splitlines()
    assert re.fullmatch(r"-- [A-Z].*[.:]?.*", first)
    for word in ("KEYS", "ARGV", "RETURNS"):
        assert any(line.startswith(f"-- {word} ") for line in rest), f"{path.name} lacks {word}"


@pytest.mark.parametrize("path", SCRIPTS, ids=name)
def test_includes_are_resolved_once_and_in_order(path: Path) -> None:
    s = scripts.script(path.stem)
    assert "--!include" not in s.text
    included = [(scripts.LUA / f"{x}.lua").read_text() for x in INCLUDE.findall(path.read_text())]
    assert all(s.text.count(text) == 1 for text in included)
    assert [s.text.index(text) for text in included] == sorted(s.text.index(text) for text in included)
    assert scripts.script(path.stem) is s


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EVENTS_KEPT", events.KEPT),
        ("FAILED_FIRST", queue_score(Priority.LOW, 0) - queue_score(Priority.LOW, 0, failed_last=True)),
        ("PRINT", names.FINGERPRINT),
        ("PATH", names.PATH),
        ("LOG_KEPT", keys.LOG_TTL_MS),
    ],
)
def test_the_scripts_and_the_code_agree_on_numbers(name: str, value: int) -> None:
    org, attempt = [(scripts.LUA / f"lib/{lib}.lua").read_text() for lib in ("org", "attempt")]
    found = re.findall(rf"^local {name} = (\d+)", f"{org}\n{attempt}", re.MULTILINE)
    assert found == [str(value)]


def test_the_scripts_and_the_policy_agree_on_head_starts() -> None:
    (table,) = re.findall(r"^local HEAD_START = \{ (.*) \}", (scripts.LUA / "lib/org.lua").read_text(), re.MULTILINE)
    found = {int(priority): int(value) for priority, value in re.findall(r"\[(\d)\] = (\d+)", table)}
    assert found == {priority.value: -queue_score(priority, 0) for priority in Priority}


def test_the_scripts_compute_estimates_with_the_numbers_of_the_simulator() -> None:
    text = (scripts.LUA / "lib/average.lua").read_text()
    numbers = re.findall(r"^local ([A-Z_, ]+) = ([\d., ]+)$", text, re.MULTILINE)
    found = {k: float(v) for ks, vs in numbers for k, v in zip(ks.split(", "), vs.split(", "), strict=True)}
    assert found.items() <= vars(learning).items()
    assert len(found) == 10
    assert "local FAR = math.exp(LOG_REACH / LOG_UNIT)" in text


def test_an_unknown_script_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        scripts.script("no_such_script")


@pytest.mark.parametrize("path", [*SCRIPTS, *LIBRARIES], ids=name)
def test_a_script_keeps_to_the_commands_of_redis_6_2(path: Path) -> None:
    text = path.read_text()
    assert set(COMMAND_IN_LUA.findall(text)) <= REDIS_6_2
    assert TOO_NEW.search(text) is None


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_the_module_keeps_to_the_commands_of_redis_6_2(path: Path) -> None:
    assert {a or b for a, b in COMMAND_IN_PYTHON.findall(path.read_text())} <= REDIS_6_2


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.name)
def test_the_module_writes_by_scripts_alone(path: Path) -> None:
    """What is read, judged and then written by another command may be somebody else's by then."""
    assert {a or b for a, b in COMMAND_IN_PYTHON.findall(path.read_text())} <= READS | PLAIN_WRITES


@pytest.mark.parametrize("path", [*SCRIPTS, *LIBRARIES], ids=name)
def test_a_script_touches_no_key_but_those_of_its_tag(path: Path) -> None:
    """Every key is built from the prefix that came as KEYS[1], as Redis Cluster needs it."""
    assert "KEYS[2]" not in path.read_text()
    assert "qg:" not in path.read_text()


@pytest.mark.parametrize(
    "error",
    [
        RedisConnectionError("Connection refused"),
        RedisTimeoutError("Timeout reading"),
        NoServerError("slot 7 of the Cluster has no master"),
        AuthenticationError("invalid username-password pair or user is disabled."),
        BusyLoadingError("Redis is loading the dataset in memory"),
        ReadOnlyError("You can't write against a read only replica."),
        ResponseError("OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:9."),
        # redis-py has classes of its own for some words, and cuts these off.
        OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
        ClusterDownError("The cluster is down"),
        TryAgainError("Multiple keys request during rehashing of slot"),
        MasterDownError("Link with MASTER is down"),
        ResponseError("MISCONF Redis is configured to save RDB snapshots"),
        ResponseError("NOREPLICAS Not enough good replicas to write."),
        ResponseError("CLUSTERDOWN The cluster is down"),
        ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"),
        # Redis 6.2 wraps what a script ran into.
        ResponseError("Error running script (call to f_1f): @user_script:9: -OOM command not allowed when used memory"),
        ResponseError("Error running script (call to f_1f): @user_script: 9: -MISCONF Redis is configured to save"),
    ],
    ids=str,
)
def test_what_passes_by_itself_is_unavailable(error: RedisError) -> None:
    found = scripts.unavailable(error)
    assert found is not None
    assert "repeat the call later" in found.message


FULL = "command not allowed when used memory > 'maxmemory'"
MOST = "up to its maxmemory"
REFUSES = "the store refuses writes now"
WRAPPED = "Error running script (call to f_1f): @user_script:9:"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NoServerError("no node of the Cluster answers"), "the store is away (no node of the Cluster answers)"),
        (
            AuthenticationError("invalid username-password pair"),
            "refuses the credentials of REDIS_URL (invalid username",
        ),
        (AuthenticationError("Authentication required."), "the store needs a password, and REDIS_URL has none"),
        (
            AuthenticationError("HELLO must be called with the client already authenticated, otherwise ..."),
            "the store needs a password, and REDIS_URL has none",
        ),
        (RedisConnectionError("Connection closed by server."), "the store is away (connection closed)"),
        (RedisConnectionError("odd, at 10.0.0.1:6379"), "the store is away (ConnectionError)"),
        (RedisTimeoutError("Timeout connecting to server"), "the store is away (no connection in time)"),
        (RedisTimeoutError("no reply came within 5 s"), "the store is away (no answer in time)"),
        (OutOfMemoryError(f"{FULL}. script: 8521c5, on @user_script:38."), f"{REFUSES} (its memory is full, {MOST})"),
        (OutOfMemoryError(f"{FULL}."), f"{REFUSES} (its memory is full, {MOST})"),
        (ResponseError(f"{WRAPPED} -OOM {FULL}"), f"{REFUSES} (its memory is full, {MOST})"),
        (ResponseError(f"{WRAPPED} -MISCONF Errors writing to the AOF file: x"), f"{REFUSES} (MISCONF Errors writing"),
        (ResponseError("NOREPLICAS Not enough. script: 85, on @user_script:9."), f"{REFUSES} (NOREPLICAS Not enough);"),
        (BusyLoadingError("Redis is loading the dataset in memory"), "the store is away (BusyLoadingError)"),
        (
            RedisConnectionError("max number of clients reached", status_code="ERR"),
            "the store is away (it takes no more connections, up to its maxclients)",
        ),
        (ReadOnlyError("You can't write against a read only replica."), "the store is away (ReadOnlyError)"),
    ],
    ids=str,
)
def test_why_the_store_is_away_is_said_where_it_is_known(error: RedisError, words: str) -> None:
    found = scripts.unavailable(error)
    assert found is not None
    assert words in found.message


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('10.0.0.1', 6379)"), "connection refused"),
        (gaierror(-2, "Name or service not known"), "name not known"),
        (ssl.SSLError(1, "wrong version number"), "no TLS connection"),
        (ssl.SSLCertVerificationError(1, "self-signed certificate"), "its certificate is not trusted"),
        (ConnectionResetError(104, "reset"), "connection closed"),
        (FileNotFoundError(2, "/run/redis.sock"), "no such socket"),
        (PermissionError(13, "/run/redis.sock"), "its socket may not be used"),
        (OSError(113, "No route to host"), "host unreachable"),
        (OSError(110, "Connection timed out"), "no answer in time"),
        (OSError(5, "odd"), "ConnectionError"),
    ],
    ids=str,
)
def test_why_no_connection_came_about_is_said_in_words_without_the_address(cause: OSError, words: str) -> None:
    error = RedisConnectionError("Error connecting to 10.0.0.1:6379.")
    error.__cause__ = cause
    found = scripts.unavailable(error)
    assert found is not None
    assert found.message == f"the store is away ({words}); repeat the call later"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://127.0.0.1:{port}", "connection refused"),
        ("unix:///no/such/socket", "no such socket"),
    ],
)
async def test_so_it_is_with_what_the_client_of_the_store_really_raises(url: str, words: str) -> None:
    with socket.socket() as listener:  # bound and not listening: nobody else gets the port
        listener.bind(("127.0.0.1", 0))
        client = Redis.from_url(url.format(port=listener.getsockname()[1]))
        with pytest.raises(RedisError) as raised:
            await client.ping()
        await client.aclose()
    found = scripts.unavailable(raised.value)
    assert found is not None
    assert f"({words})" in found.message


@pytest.mark.parametrize(
    "error",
    [
        ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
        ResponseError("user_script:3: attempt to index a nil value script: 1f, on @user_script:3."),
        ResponseError("OOMPH is no word of the store"),
    ],
    ids=str,
)
def test_what_is_a_bug_of_ours_is_not(error: RedisError) -> None:
    assert scripts.unavailable(error) is None


@pytest.mark.parametrize(
    ("text", "enough"), [("6.0.16", False), ("6.2.14", True), ("7.0.15", True), ("10.0", True), ("5.9", False)]
)
def test_versions_are_compared_by_number(text: str, enough: bool) -> None:
    assert (version_of({"redis_version": text}) >= MIN_VERSION) is enough


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (NoPermissionError("this user has no permissions to run the 'hset' command or its subcommand"), "+hset"),
        (NoPermissionError("User q has no permissions to run the 'cluster|info' command"), "+cluster|info"),
        (NoPermissionError("this user has no permissions to access one of the keys used as arguments"), "~qg:*"),
        (NoPermissionError("No permissions to access a key"), "~qg:*"),
        (NoPermissionError("this user has no permissions to access one of the channels used as arguments"), "&qg:*"),
        # Of a script: 6.2 wraps it, 7.0 has no word in front, later ones have.
        (
            ResponseError(
                "Error running script (call to f_1f): @user_script:9: -NOPERM The user executing the script can't run "
                "this command or subcommand"
            ),
            UNNAMED,
        ),
        (
            ResponseError(
                "The user executing the script can't access at least one of the keys mentioned in the command "
                "arguments script: 1f, on @user_script:1."
            ),
            "~qg:*",
        ),
        (
            NoPermissionError("ACL failure in script: User q has no permissions to run the 'hset' command script: 1f"),
            "+hset",
        ),
    ],
    ids=str,
)
def test_a_refusal_for_want_of_rights_names_the_rule_that_is_missing(error: RedisError, rule: str) -> None:
    found = scripts.unavailable(error)
    assert isinstance(found, StoreRightsError)
    assert found.rules == (rule,)
    assert rule in found.message


def test_what_a_script_does_wrong_is_a_bug_and_no_want_of_rights() -> None:
    text = "WRONGTYPE Operation against a key holding the wrong kind of value script: 1f, on @user_script:1."
    assert scripts.unavailable(ResponseError(text)) is None


def test_a_refusal_that_no_try_explains_keeps_all_back_for_a_while() -> None:
    now = 100.0
    rights = Rights(lambda: now)
    rights.refused(StoreRightsError(["~qg:*"]))
    with pytest.raises(StoreRightsError):
        rights.tried([])
    assert rights.doubted
    now += HOLD_SECONDS
    rights.tried([])
    assert not rights.doubted
