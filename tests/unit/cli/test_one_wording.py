"""The programs share no code and read the same settings: what one refuses the others refuse, in the same words."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path

import pytest

import qgjob._addresses
import qgjob.cli.parent
import qgjob.cli.setting_names
import qgjob_agent.addresses
import qgjob_agent.parent
import qgjob_agent.setting_names
import qgjob_agent.setting_words
import qgjob_agent.tasks
import qgjob_coordinator.parent
import qgjob_coordinator.setting_names
import qgjob_coordinator.setting_words
import qgjob_coordinator.tasks
from qgjob import QgjobError
from qgjob._failover import parse_addresses
from qgjob.cli.dotenv import read_environment
from qgjob.cli.settings import resolve
from qgjob.cli.up_settings import check_ports, stack_settings
from qgjob_agent.config import load_config
from qgjob_agent.errors import AgentError
from qgjob_coordinator.config import Settings
from qgjob_coordinator.errors import ConfigError
from tests.unit.cli.conftest import Command

SHARED = (
    "HOST",
    "PORT",
    "GRPC_PORT",
    "REDIS_URL",
    "LOG_LEVEL",
    "KILL_GRACE_SECONDS",
    "ENVIRONMENT",
    "NODE_ENV",
    "PARENT_PID",
)


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SHARED:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(f"QGJOB_{name}", raising=False)
    monkeypatch.setenv("QGJOB_AGENT_ID", "agent-1")


def coordinator() -> str | None:
    try:
        Settings.load()
    except ConfigError as error:
        return error.message
    return None


def agent() -> str | None:
    try:
        load_config()
    except AgentError as error:
        return str(error) if error.exit_code == 2 else f"exit code {error.exit_code}"
    return None


def up() -> str | None:
    try:
        stack_settings(read_environment(os.environ, Path.cwd()), Path.cwd())
    except QgjobError as error:
        return error.message
    return None


def client() -> str | None:
    try:
        resolve({}, read_environment(os.environ, Path.cwd()), Path.cwd(), Path("user.toml"))
    except QgjobError as error:
        return error.message
    return None


Reader = Callable[[], str | None]


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("readers", "name", "value", "problem"),
    [
        ((coordinator, up), "PORT", "http", "is not a whole number; give one from 0 to 65535"),
        ((coordinator, up), "QGJOB_PORT", "1.5", "is not a whole number; give one from 0 to 65535"),
        ((coordinator, up), "GRPC_PORT", "65536", "is out of range; give a number from 0 to 65535"),
        ((coordinator, up), "GRPC_PORT", "-1", "is out of range; give a number from 0 to 65535"),
        ((coordinator, agent), "LOG_LEVEL", "loud", "is not known; give one of error, warn, info, debug"),
        ((coordinator, agent), "ENVIRONMENT", "test", "is not known; give one of development, production"),
        ((coordinator, agent), "QGJOB_KILL_GRACE_SECONDS", "soon", "is not a number; give one from 0 to "),
        ((coordinator, agent), "KILL_GRACE_SECONDS", "-1", "is out of range; give a number from 0 to "),
        *[
            (
                (coordinator, agent, up),
                "PARENT_PID",
                value,
                "is out of range; give a number over 1 and up to 2147483647",
            )
            for value in ("2147483648", "9" * 30, "1", "-1")
        ],
        *[
            ((agent, client), "QGJOB_COORDINATOR", value, f"{problem}give HOST:PORT, or HOST")
            for value, problem in [
                *((each, "is no address; ") for each in ("local host", "lab:0", "lab:grpc", ":50051", "lab:", "::1")),
                ("lab, lab:70000", "has 'lab:70000', which is no address; "),
                ("http://lab:3000", "is no address; leave out 'http://' and "),
                ("lab,http://lab:3000", "has 'http://lab:3000', which is no address; leave out 'http://' and "),
                ("dns:///lab:50051", "is no address; leave out 'dns:///' and "),
                ("unix:/run/qgjob", "is no address; leave out 'unix:/' and "),
            ]
        ],
        ((agent, client), "QGJOB_COORDINATOR", ",", "names no coordinator; give HOST:PORT"),
    ],
)
def test_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, in_file: bool, readers: tuple[Reader, ...], name: str, value: str, problem: str
) -> None:
    if in_file:
        Path(".env").write_text(f"{name}={value}\n")
    else:
        monkeypatch.setenv(name, value)
    source = str(Path(".env").resolve()) if in_file else "the environment"
    for reader in readers:
        assert (reader() or "").startswith(f"{name}: {value!r} (from {source}) {problem}"), reader


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("localhost", ["localhost:50051"]),
        ("lab-1.example:5, 10.0.0.1 ,", ["lab-1.example:5", "10.0.0.1:50051"]),
        ("[::1]:5,[fe80::1%eth0]", ["[::1]:5", "[fe80::1%eth0]:50051"]),
    ],
)
def test_a_host_alone_means_the_default_port(monkeypatch: pytest.MonkeyPatch, written: str, meant: list[str]) -> None:
    monkeypatch.setenv("QGJOB_COORDINATOR", written)
    assert list(load_config().coordinator) == meant
    assert client() is None
    assert list(parse_addresses(written)) == meant


@pytest.mark.parametrize("in_file", [False, True])
@pytest.mark.parametrize(
    ("value", "expected"), [("test", "development"), ("staging", "development"), ("Production", "production")]
)
def test_other_values_of_node_env_are_development(
    monkeypatch: pytest.MonkeyPatch, in_file: bool, value: str, expected: str
) -> None:
    """It is the variable of other programs, which know more values."""
    if in_file:
        Path(".env").write_text(f"NODE_ENV={value}\n")
    else:
        monkeypatch.setenv("NODE_ENV", value)
    assert (Settings.load().environment, load_config().environment) == (expected, expected)


def test_an_environment_of_our_own_is_not_taken_for_node_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ENV", "production")
    monkeypatch.setenv("QGJOB_ENVIRONMENT", "test")
    told = "QGJOB_ENVIRONMENT: 'test' (from the environment) is not known; give one of development, production"
    assert (coordinator(), agent()) == (told, told)


@pytest.mark.parametrize("value", ["0", "", "3001"])
def test_ports_that_all_take(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("PORT", value)
    assert (coordinator(), up()) == (None, None)


def test_two_servers_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRPC_PORT", "3000")
    told = "GRPC_PORT: 3000 (from the environment) is PORT too; set another port"
    assert (coordinator(), up()) == (told, told)


def test_a_port_of_0_is_any_free_one() -> None:
    environment = read_environment({"PORT": "0", "GRPC_PORT": "0"}, Path.cwd())
    settings = check_ports(stack_settings(environment, Path.cwd()), environment)
    assert 0 not in (settings.port, settings.grpc_port)
    assert settings.port != settings.grpc_port


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"X=\xff\xfe", "can't be read (it is not UTF-8); mend it, or move it away"),
        (None, "can't be read (Is a directory); mend it, or move it away"),
        (b"# a comment\n\nPORT 3000\n", "line 3 is not NAME=value; mend it, or make it a comment with #"),
        (b"A='x\ny'\nlonely\n", "line 3 is not NAME=value; mend it, or make it a comment with #"),
        (b"A= 'open\n", "line 1 is not NAME=value; mend it, or make it a comment with #"),
        (b'A="open\nB=1\n', "line 1 is not NAME=value; mend it, or make it a comment with #"),
    ],
)
def test_a_file_that_can_not_be_read(content: bytes | None, problem: str) -> None:
    path = Path(".env").resolve()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    told = f"{path}: {problem}"
    assert (coordinator(), agent(), up()) == (told, told, told)


def test_a_file_that_all_can_read() -> None:
    Path(".env").write_text("# c\n\nexport A=1\n  B = two words # c\nC='x\ny' # c\nD=\"a=b\"\nE=\nLOG_LEVEL=debug")
    assert (coordinator(), agent(), up()) == (None, None, None)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("x://${STORE:-lab}:6379", "x://${STORE:-lab}:6379"),
        ('"x://lab/$1"', "x://lab/$1"),
        ("x://${LOG_LEVEL}", "x://${LOG_LEVEL}"),
        (r'"x://a\\b\"c"', r'x://a\b"c'),
        (r"'x://a\\b\'c\n'", r"x://a\b'c\n"),
        (r'"x://a\tb\n"', "x://a\tb\n"),
        ("#x  # a comment", "#x"),
    ],
)
def test_a_file_means_the_same_to_all(monkeypatch: pytest.MonkeyPatch, written: str, meant: str) -> None:
    """Nothing in it is expanded. HOST and AGENT_ID stand for all settings."""
    monkeypatch.delenv("QGJOB_AGENT_ID")
    monkeypatch.setenv("STORE", "elsewhere")
    Path(".env").write_text(f"\ufeffLOG_LEVEL=debug\nHOST={written}\nAGENT_ID={written}\n", "utf-8")
    assert (Settings.load().host, Settings.load().log_level) == (meant, "debug")
    with pytest.raises(AgentError) as refused:
        load_config()
    assert str(refused.value).startswith(f"AGENT_ID: {meant!r} ")
    assert read_environment(os.environ, Path.cwd()).lookup("HOST") == (meant, "HOST in .env")
    assert read_environment(os.environ, Path.cwd()).lookup("LOG_LEVEL") == ("debug", "LOG_LEVEL in .env")


def test_the_environment_wins_over_the_file_by_either_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "1")
    Path(".env").write_text("QGJOB_PORT=2\nGRPC_PORT=3\nQGJOB_GRPC_PORT=4\nLOG_LEVEL=\n")
    settings = Settings.load()
    assert (settings.port, settings.grpc_port, settings.log_level) == (1, 4, "info")
    environment = read_environment(os.environ, Path.cwd())
    assert [environment.lookup(f"QGJOB_{name}", name) for name in ("PORT", "GRPC_PORT")] == [
        ("1", "environment variable PORT"),
        ("4", "QGJOB_GRPC_PORT in .env"),
    ]


def test_the_two_copies_of_the_words_are_one() -> None:
    copies = [Path(str(each.__file__)) for each in (qgjob_agent.setting_words, qgjob_coordinator.setting_words)]
    assert copies[0].read_text() == copies[1].read_text()


def test_the_three_copies_of_the_names_are_one() -> None:
    modules = (qgjob_agent.setting_names, qgjob_coordinator.setting_names, qgjob.cli.setting_names)
    assert len({Path(str(each.__file__)).read_text() for each in modules}) == 1


def test_the_two_copies_of_the_rule_of_addresses_are_one() -> None:
    copies = [Path(str(each.__file__)) for each in (qgjob_agent.addresses, qgjob._addresses)]
    assert copies[0].read_text() == copies[1].read_text()


def test_the_two_copies_of_the_end_of_tasks_are_one() -> None:
    """Each stands beside what only its program has."""
    ends = (qgjob_agent.tasks.end_tasks, qgjob_coordinator.tasks.end_tasks)
    assert len({inspect.getsource(each) for each in ends}) == 1


def test_the_three_copies_of_the_look_at_the_parent_are_one() -> None:
    copies = [Path(str(each.__file__)) for each in (qgjob_agent.parent, qgjob_coordinator.parent, qgjob.cli.parent)]
    assert len({copy.read_text() for copy in copies}) == 1


@pytest.mark.parametrize(
    ("variables", "file", "told"),
    [
        ({"MAX_RETRIES": "abc"}, None, "error: MAX_RETRIES: 'abc' (from the environment) is not a whole number; "),
        (
            {"REDIS_URL": "redis://:pw@h:abc"},
            None,
            "error: REDIS_URL: 'redis://h:abc' (from the environment) is not a ",
        ),
        ({}, "credit = 0", "error: credit: 0 (from {file}) is out of range; give a number from 1 to 100000"),
        ({"HOST": "nowhere.invalid"}, None, "error: HOST: 'nowhere.invalid' (from the environment) is no address of"),
    ],
)
def test_up_starts_nothing_with_a_wrong_setting(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], file: str | None, told: str
) -> None:
    for name, value in {"PORT": "0", "GRPC_PORT": "0", **variables}.items():
        monkeypatch.setenv(name, value)
    options = []
    if file is not None:
        Path("agent.toml").write_text(file)
        options.append("--agent-config=agent.toml")
    result = qgjob("up", *options)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(told.replace("{file}", str(Path("agent.toml").resolve())))
    assert not Path(".qgjob").exists()


def test_a_file_where_the_data_of_the_stack_should_be(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "GRPC_PORT"):
        monkeypatch.setenv(name, "0")
    Path(".qgjob").write_text("")
    result = qgjob("up")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith(f"error: {Path('.qgjob').resolve()}: can't be the folder of the stack's data")


def test_agent_and_client_tell_a_wrong_port_from_no_one_by_the_same_code() -> None:
    """They share no code; this holds the two copies equal."""
    copies = [
        Path(__file__).parents[3] / "agent/qgjob_agent/stream/peer_probe.py",
        Path(__file__).parents[3] / "client/qgjob/_probe.py",
    ]
    assert len({copy.read_text(encoding="utf-8") for copy in copies}) == 1
