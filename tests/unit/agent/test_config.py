"""Settings: where they come from, which wins, and what a wrong one is told."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from qgjob_agent.__main__ import main
from qgjob_agent.config import AgentConfig, load_config
from qgjob_agent.core.values import Target
from qgjob_agent.errors import AgentError, ConfigError, ConfigErrors
from tests.fakes.unprivileged import open_to_all, unprivileged


def load(tmp_path: Path, toml: str = "", dotenv: str = "", **environ: str) -> AgentConfig:
    file = tmp_path / "etc" / "agent.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(toml)
    (tmp_path / ".env").write_text(dotenv)
    return load_config(file, {"AGENT_ID": "agent-1"} | environ, tmp_path)


def test_defaults(tmp_path: Path) -> None:
    config = load_config(None, {"QGJOB_AGENT_ID": "agent-2"}, tmp_path)
    assert config.coordinator == ("localhost:50051",)
    assert [facts.device_id for facts in config.device_facts] == [
        *("emulator-2", "device-2", "browserstack-1", "browserstack-2")
    ]
    assert (config.drain_seconds, config.simulated.install_seconds, config.simulated.test_seconds) == (30, 3, (1, 3))
    assert config.runner == "simulated"
    assert config.state_path.parts[-3:] == ("qgjob", "agents", "agent-2")


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ({}, 30),
        ({"toml": "drain_seconds = 1"}, 1),
        ({"toml": "drain_seconds = 1", "dotenv": "DRAIN_SECONDS=2"}, 2),
        ({"toml": "drain_seconds = 1", "dotenv": "DRAIN_SECONDS=2", "DRAIN_SECONDS": "3"}, 3),
        ({"dotenv": "QGJOB_DRAIN_SECONDS=2", "DRAIN_SECONDS": "3"}, 3),
        ({"toml": "drain_seconds = 1", "DRAIN_SECONDS": ""}, 1),
        ({"DRAIN_SECONDS": "3", "QGJOB_DRAIN_SECONDS": "4"}, 4),
    ],
)
def test_which_source_wins(tmp_path: Path, sources: dict[str, str], expected: float) -> None:
    assert load(tmp_path, **sources).drain_seconds == expected


def test_tables_lists_and_aliases_from_the_environment(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        QGJOB_COORDINATOR="a:1, b:2",
        SIMULATED_TEST_SECONDS="0,0",
        QGJOB_SIMULATED_SEED="7",
        SIMULATED_GENERATE_COUNT="3",
        RUNNER="command",
        COMMAND_ARGV="run 'a b' {test_path}",
        COMMAND_ENV_ALLOW="PATH,CI",
        NODE_ENV="Production",
        LOG_LEVEL="DEBUG",
        CI="true",
    )
    assert config.coordinator == ("a:1", "b:2")
    assert (config.simulated.test_seconds, config.simulated.seed) == ((0, 0), 7)
    assert [facts.device_id for facts in config.device_facts] == [f"agent-1.sim-{n}" for n in (1, 2, 3)]
    assert config.command.argv == ("run", "a b", "{test_path}")
    assert (config.environment, config.log_level) == ("production", "debug")
    assert config.test_environ == {"CI": "true"}


def test_generated_devices_of_two_agents_of_one_file_are_not_the_same(tmp_path: Path) -> None:
    file = "[simulated.generate]\ncount = 1\n"
    one, two = (load(tmp_path, file, QGJOB_AGENT_ID=name).device_facts for name in ("agent-1", "agent-2"))
    assert [facts.device_id for facts in (*one, *two)] == ["agent-1.sim-1", "agent-2.sim-1"]
    named = load(tmp_path, file + 'prefix = "x-"\n').device_facts
    assert [facts.device_id for facts in named] == ["x-1"]


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("", False),  # simulated devices install anything
        ("[adb]\nenabled = true\n", True),
        ('[adb]\nenabled = true\n[builds]\ntemplate = "/builds/{app_version_id}.apk"\n', False),
    ],
)
def test_real_devices_without_a_template_have_only_what_was_pushed(tmp_path: Path, toml: str, expected: bool) -> None:
    assert load(tmp_path, toml).pushed_builds_only is expected


def test_a_bare_token_is_another_programs(tmp_path: Path) -> None:
    assert load(tmp_path, TOKEN="theirs").token is None  # noqa: S106 - a fake one
    token = load(tmp_path, QGJOB_TOKEN="ours").token  # noqa: S106 - a fake one
    assert token is not None
    assert token.get_secret_value() == "ours"
    assert "ours" not in repr(token)


def test_devices_of_the_file(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [[devices]]
        udid = "emulator:5554"
        target = "emulator"
        platform = "android"
        labels = { rack = "a" }
        [[devices]]
        udid = "00-11"
        target = "device"
        device_id = "iphone"
        """,
    )
    first, second = config.device_facts
    assert (first.device_id, first.udid, first.target) == ("agent-1.emulator-5554", "emulator:5554", Target.EMULATOR)
    assert first.labels == {"rack": "a"}
    assert (second.device_id, second.udid) == ("iphone", "00-11")


def test_paths_of_a_file_are_relative_to_it_and_others_to_the_working_folder(tmp_path: Path) -> None:
    config = load(tmp_path, 'state_dir = "state"\n[command]\ncwd = "suite"')
    assert config.state_path == tmp_path / "etc" / "state"
    assert config.command.cwd == tmp_path / "etc" / "suite"
    config = load(tmp_path, STATE_DIR="state", COMMAND_CWD="suite")
    assert config.state_path == tmp_path / "state"
    assert config.command.cwd == tmp_path / "suite"


WRONG: list[tuple[dict[str, str], str]] = [
    (
        {"DRAIN_SECONDS": "soon"},
        r"^DRAIN_SECONDS: 'soon' \(from the environment\) is not a number; give one from 0 to 86400$",
    ),
    ({"QGJOB_DRAIN_SECONDS": "-1"}, r"^QGJOB_DRAIN_SECONDS: '-1' \(from the environment\) is out of range; "),
    ({"DRAIN_SECONDS": "nan"}, r"^DRAIN_SECONDS: 'nan' .* is not a number"),
    (
        {"dotenv": "LOG_LEVEL=loud"},
        r"^LOG_LEVEL: 'loud' \(from /.*/\.env\) is not known; give one of error, warn, info, debug$",
    ),
    (
        {"toml": "drain_second = 3"},
        r"^drain_second: 3 \(from .*\) is not a setting; did you mean drain_seconds\? There are coordinator, ",
    ),
    ({"toml": '[comand]\nargv = ["x"]'}, r"^comand: a table \(from .*\) is not a setting; did you mean command\? "),
    (
        {"toml": '[command]\nargv = "./run.sh {test_path}"'},
        r"""^command\.argv: '\./run\.sh {test_path}' \(from .*\) .* as in \["\./run\.sh", "{test_path}"\]$""",
    ),
    ({"toml": '[command]\nargv = "a \'b"'}, r"""is not a list; write a list of words, as in \["a 'b"\]$"""),
    ({"toml": "coordinator = 3"}, r"^coordinator: 3 \(from .*\) is not a list; write a list of words, as in \[3\]$"),
    (
        {"toml": '[devices]\nudid = "u"'},
        r"^devices: a table \(.*\) is not a list; write a table in double brackets for",
    ),
    (
        {"toml": '[[devices]]\ntarget = "device"'},
        r"^devices\[0\]\.udid: nothing \(from .*agent\.toml\) is set; give it a value$",
    ),
    (
        {"toml": '[[devices]]\nudid = "u"'},
        r"^devices\[0\]\.target: nothing \(from .*\) is set; give one of emulator, device, browserstack$",
    ),
    (
        {"toml": '[command]\nargv = ["x"]\nrunner = "command"'},
        r"^command\.runner: 'command' \(from .*\) is not a setting of this table; write it above the first \[table\]$",
    ),
    (
        {"toml": '[[devices]]\nudid = "u"\ntarget = "device"\nagent_id = "lab-1"'},
        r"^devices\[0\]\.agent_id: 'lab-1' \(.*\) is not a setting of this table; write it above the first \[table\]$",
    ),
    (
        {"toml": 'suite_dir = "/srv/tests"'},
        r"^suite_dir: '/srv/tests' \(from .*\) is a setting of a table; write it below a line with \[appwright\]$",
    ),
    (
        {"toml": 'argv = ["x"]'},
        r"^argv: \['x'\] \(from .*\) is a setting of a table; write it below a line with \[command\]$",
    ),
    (
        {"toml": 'udid = "u"'},
        r"^udid: 'u' \(from .*\) is a setting of a table; write it below a line with \[\[devices\]\]$",
    ),
    (
        {"toml": "cache_mb = 3"},
        r"^cache_mb: 3 \(.*\) is a setting of a table; write it below a line with \[builds\] or \[suites\]$",
    ),
    ({"toml": "[simulated]\nrate = 3"}, r"^simulated\.rate: 3 \(.*\) is not a setting; there are install_seconds, "),
    (
        {"toml": "drain_seconds = "},
        r"^--config: '.*agent\.toml' \(from the command line\) is not valid TOML: .*; mend it$",
    ),
    (
        {"toml": '[adb]\nenabled = "yes"'},
        r"^adb\.enabled: 'yes' \(from .*agent\.toml\) is not true or false; give one of them, without quotes$",
    ),
    (
        {"toml": "[adb]\nenabled = 1"},
        r"^adb\.enabled: 1 \(from .*agent\.toml\) is not true or false; give one of them$",
    ),
    ({"ADB_ENABLED": "perhaps"}, r"^ADB_ENABLED: 'perhaps' .* is not true or false; give one of them$"),
    (
        {"toml": '[adb]\nport = "5037"'},
        r"^adb\.port: '5037' \(.*\) is not a whole number; give one from 1 to 65535, without quotes$",
    ),
    (
        {"toml": '[adb]\nport = "many"'},
        r"^adb\.port: 'many' \(.*\) is not a whole number; give one from 1 to 65535, with",
    ),
    ({"toml": "credit = true"}, r"^credit: True \(.*\) is not a whole number; give one from 1 to 100000$"),
    (
        {"toml": 'drain_seconds = "3"'},
        r"^drain_seconds: '3' .* is not a number; give one from 0 to 86400, without quotes$",
    ),
    (
        {"toml": '[simulated]\ntest_seconds = [1, "3"]'},
        r"^simulated\.test_seconds\[1\]: '3' .* is not a number; give one from 0 to 86400, without quotes$",
    ),
    ({"toml": "[adb]\nprogram = 3"}, r"^adb\.program: 3 \(from .*agent\.toml\) is not a text; write one in quotes$"),
    ({"toml": "[command]\nargv = [3]"}, r"^command\.argv\[0\]: 3 .* is not a text; write one in quotes$"),
    ({"toml": "simulated = 3"}, r"^simulated: 3 \(from .*agent\.toml\) is not a table; "),
    ({"QGJOB_AGENT_ID": "a b"}, r"^QGJOB_AGENT_ID: 'a b' \(from the environment\) is not an id; use "),
    ({"SIMULATED_TEST_SECONDS": "3,1"}, r"^SIMULATED_TEST_SECONDS: '3,1' .* has the longest first; give"),
    ({"SIMULATED_TEST_SECONDS": "[1"}, r"^SIMULATED_TEST_SECONDS: '\[1' .* is not a list"),
    ({"SIMULATED_FAILURE_RATE": "2"}, r"^SIMULATED_FAILURE_RATE: '2' .* is out of range; give a number from 0 to 1$"),
    ({"RUNNER": "command"}, r"^command\.argv: \[\] .* is no command: the command runner needs a command"),
    (
        {"RUNNER": "command", "COMMAND_ARGV": "x {tset_path}"},
        r"^COMMAND_ARGV: .* is no command: unknown placeholder {tset_path}",
    ),
    (
        {"RUNNER": "command", "COMMAND_ARGV": "x {test_path.__class__}"},
        r"^COMMAND_ARGV: .* is no command: unknown placeholder",
    ),
    ({"RUNNER": "command", "COMMAND_ARGV": "x {test_path!r}"}, r"^COMMAND_ARGV: .* is no command: unknown placeholder"),
    (
        {"RUNNER": "command", "COMMAND_ARGV": "x {"},
        r"^COMMAND_ARGV: .* is no command: '{': .*write {{ and }} for braces",
    ),
    (
        {"RUNNER": "appwright", "APPWRIGHT_PROJECT": "a"},
        r"^appwright\.suite_dir: nothing .* is not set; name the folder",
    ),
    ({"RUNNER": "appwright", "APPWRIGHT_SUITE_DIR": "/"}, r"^appwright\.project: '' .* is empty; name the project in "),
    (
        {"RUNNER": "appwright", "APPWRIGHT_SUITE_DIR": "/", "APPWRIGHT_PROJECT": "a", "APPWRIGHT_APPIUM": "appium"},
        r"^APPWRIGHT_APPIUM: 'appium' .* is no command: the agent chooses the port; put {port} where it belongs",
    ),
    (
        {"RUNNER": "appwright", "APPWRIGHT_SUITE_DIR": "/", "APPWRIGHT_PROJECT": "a", "APPWRIGHT_APPIUM_URL": "h:1"},
        r"^APPWRIGHT_APPIUM_URL: 'h:1' .* is no http:// or https:// address; give one, as in http://127",
    ),
    ({"APPWRIGHT_MODE": "slow"}, r"^APPWRIGHT_MODE: 'slow' .* is not known; give one of auto, plain"),
    ({"QGJOB_AGENT_ID": "elsewhere"}, r"^devices: \[\] .* is empty; add \[\[devices\]\] tables"),
    (
        {"toml": '[[devices]]\nudid = "a"\ntarget = "phone"'},
        r"^devices\[0\]\.target: 'phone' \(from .*agent\.toml\) is not known; give one of emulator, ",
    ),
    (
        {"toml": '[[devices]]\nudid = "a:b"\ntarget = "device"\n[[devices]]\nudid = "a-b"\ntarget = "device"'},
        r"^devices: \['agent-1\.a-b'\] .* would be ids of two devices each",
    ),
    *(
        (
            {"ADB_CONNECT": f"10.0.0.5:5555,{wrong}"},
            rf"^ADB_CONNECT: .* has '{wrong}', which is no address of a device; give HOST:PORT, as in",
        )
        for wrong in (
            *("10.0.0.6", "10.0.0.6:0", "10.0.0.6:05555", "10.0.0.6:70000", "tcp://phone:5555"),
            *("10..0.6:5555", ".phone:5555", f"{'p' * 64}.lab:5555"),  # no names that a host can have
        )
    ),
    (
        {"ADB_CONNECT": "[::1]:5555,phone.lab.example:40001", "ADB_SERIALS": "R5A,[::1]:5555"},
        r"^ADB_CONNECT: .* has 'phone\.lab\.example:40001', which adb\.serials does not name, .*; add it there",
    ),
    (
        {
            "toml": "[adb]\nenabled = true\n"
            '[[devices]]\nudid = "a"\ntarget = "device"\n[[devices]]\nudid = "a"\ntarget = "device"\ndevice_id = "b"'
        },
        r"^devices: \['a'\] .* are udids of two tables each; leave one of the tables out",
    ),
    ({"toml": 'token = ["s3cret"]'}, r"^token: (?!.*s3cret)"),
    (
        {"QGJOB_COORDINATOR": "local host"},
        r"^QGJOB_COORDINATOR: 'local host' .* is no address; give HOST:PORT",
    ),
    ({"QGJOB_COORDINATOR": "a:70000"}, r"^QGJOB_COORDINATOR: 'a:70000' .* is no address"),
    ({"STATE_DIR": __file__}, r"^STATE_DIR: '.*' \(from the environment\) is a file; choose another folder$"),
    ({"STATE_DIR": f"{__file__}/deeper"}, r"^STATE_DIR: .* is under .*\.py, a file; choose another folder$"),
    ({"toml": f'state_dir = "{__file__}"'}, r"^state_dir: '.*' \(from .*agent\.toml\) is a file; "),
    ({"dotenv": "A=1\nnot a setting"}, r"^/.*/\.env: line 2 is not NAME=value; mend it, or make it a comment with #$"),
]


@pytest.mark.parametrize(
    "text",
    [
        '[command]\ntoken = "s3cret"',
        'access_key = "s3cret"',
        'username = "s3cret"',
        'tokn = "s3cret"',
        'acess_key = "s3cret"',
        'QGJOB_TOKEN = "s3cret"',
        'BROWSERSTACK_ACCESS_KEY = "s3cret"',
        'browserstack-username = "s3cret"',
        '[appwright]\nQGJOB_BROWSERSTACK_ACESS_KEY = "s3cret"',
        '[[browserstak]]\naccess_key = "s3cret"',
        '[[command]]\ntoken = "s3cret"',
        'browserstackAccessKey = "s3cret"',
        'browserstackUsernme = "s3cret"',
        'BROWSERSTACK_KEY = "s3cret"',
        'QGJOBTOKEN = "s3cret"',
        'QGJOB_TOKEN_FILE = "s3cret"',
        'token_value = "s3cret"',
        'password = "s3cret"',
        'labels = [["s3cret", { a = 1 }]]',
        'labels = [[{ token = "s3cret" }]]',
    ],
)
def test_a_secret_that_stands_in_another_place_is_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(AgentError, match=r"'\(hidden\)' \(from ") as raised:
        load(tmp_path, toml=text)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("setting", ["look_second", "evidence.kep", "apple.bot", "command.enviroment", "state_dirs"])
def test_the_value_of_a_setting_that_is_no_secret_is_shown(tmp_path: Path, setting: str) -> None:
    with pytest.raises(AgentError, match=r"\['shown'\]"):
        load(tmp_path, toml=f'{setting} = ["shown"]')


@pytest.mark.parametrize(("sources", "message"), WRONG, ids=[message for _, message in WRONG])
def test_a_wrong_setting_is_named_with_value_and_source(tmp_path: Path, sources: dict[str, str], message: str) -> None:
    with pytest.raises(AgentError, match=message) as raised:
        load(tmp_path, **sources)
    assert "\n" not in str(raised.value)
    assert raised.value.exit_code == 2


def test_a_value_of_a_wrong_type_is_told_with_all_else_that_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as raised:
        load(tmp_path, 'credit = "8"\nlog_level = "loud"\n[apple]\nenabled = "yes"\nboot = "x"')
    assert [each.setting for each in raised.value.errors] == ["credit", "apple.enabled", "apple.boot", "log_level"]


def test_a_variable_is_text_and_stands_over_what_is_wrong_in_the_file(tmp_path: Path) -> None:
    config = load(tmp_path, 'credit = "8"\n[adb]\nenabled = "yes"', CREDIT="9", ADB_ENABLED="no", ADB_PORT="5038")
    assert (config.credit, config.adb.enabled, config.adb.port) == (9, False, 5038)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^--config: '.*nowhere\.toml' \(.*\) is no file; name the agent's agent\.toml$",
    ):
        load_config(tmp_path / "nowhere.toml", {}, tmp_path)
    with pytest.raises(ConfigError, match=r"^QGJOB_AGENT_CONFIG: '.*gone\.toml' \(from the environment\) is no file"):
        load_config(None, {"QGJOB_AGENT_CONFIG": str(tmp_path / "gone.toml")}, tmp_path)


def test_credit_follows_the_number_of_devices(tmp_path: Path) -> None:
    assert load(tmp_path).effective_credit == 32
    assert load(tmp_path, SIMULATED_GENERATE_COUNT="200").effective_credit == 1_600
    assert load(tmp_path, CREDIT="5").effective_credit == 5


DEVICE = '[[devices]]\nudid = "u"\ntarget = "emulator"\n'


@pytest.mark.parametrize(
    ("line", "setting", "value", "words"),
    [
        ('labels = { platform = "x" }', "devices[0].labels.platform", "x", "take platform for the device's platform"),
        ('labels = { OS-Version = "x" }', "devices[0].labels.OS-Version", "x", "for the device's os_version"),
        ('labels = { rack = "1", a = "" }', "devices[0].labels.a", "", "is empty, and requirements can't ask for that"),
        ('os_version = "14."', "devices[0].os_version", "14.", "is not a version"),
        ('os_version = "Android 14"', "devices[0].os_version", "Android 14", "such as 14 or 14.1"),
    ],
)
def test_what_no_requirement_could_ask_for_is_refused(
    tmp_path: Path, line: str, setting: str, value: str, words: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, DEVICE + line)
    assert (caught.value.setting, caught.value.value) == (setting, value)
    assert caught.value.source.endswith("agent.toml")
    assert words in str(caught.value)


def test_labels_and_versions_that_requirements_can_ask_for(tmp_path: Path) -> None:
    text = DEVICE + 'os_version = "14.0-beta_2"\nlabels = { rack = "a1", os = "y", platform2 = "z" }'
    (facts,) = load(tmp_path, text).device_facts
    assert (facts.os_version, facts.labels) == ("14.0-beta_2", {"rack": "a1", "os": "y", "platform2": "z"})


def test_an_id_that_a_long_udid_would_make_is_refused(tmp_path: Path) -> None:
    fits, too_long = "u" * 120, "u" * 121
    device = '[[devices]]\ntarget = "emulator"\nudid = '
    (facts,) = load(tmp_path, f'{device}"{fits}"').device_facts
    assert facts.device_id == f"agent-1.{fits}"
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'{device}"a"\n{device}"{too_long}"')
    assert (caught.value.setting, caught.value.value) == ("devices[1].udid", too_long)
    assert str(caught.value).endswith("would make a device_id of 129 characters, and 128 are allowed; set device_id")
    named = load(tmp_path, f'{device}"{too_long}"\ndevice_id = "short"').device_facts
    assert [each.device_id for each in named] == ["short"]


@pytest.mark.parametrize(("agent_id", "prefix"), [("agent-1", "p" * 127), ("a" * 122, None)])
def test_ids_that_a_long_prefix_would_make_are_refused(tmp_path: Path, agent_id: str, prefix: str | None) -> None:
    toml = "[simulated.generate]\ncount = {}\n" + ("" if prefix is None else f'prefix = "{prefix}"\n')
    assert len(load(tmp_path, toml.format(9), AGENT_ID=agent_id).device_facts) == 9
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, toml.format(10), AGENT_ID=agent_id)
    assert caught.value.setting == "simulated.generate.prefix"
    assert caught.value.value == (prefix or f"{agent_id}.sim-")
    assert "would make device ids of 129 characters, and 128 are allowed; set a shorter one" in str(caught.value)


SUITE = """
runner = "command"
[command]
argv = ["./run.sh", "{test_path}"]
cwd = "suite"
"""


def script(path: Path, text: str) -> None:
    """A file that may be executed."""
    path.write_bytes(text.encode())
    path.chmod(0o700)


def checked(tmp_path: Path, toml: str, **environ: str) -> list[str]:
    """What `--check` finds wrong with a file; the suite has a script that can be executed, and one that can't."""
    suite = tmp_path / "etc" / "suite"
    suite.mkdir(parents=True, exist_ok=True)
    script(suite / "run.sh", "#!/bin/sh\n")
    (suite / "plain.sh").touch(0o600)
    (tmp_path / "etc" / "agent.toml").write_text(toml)
    environ = {"AGENT_ID": "agent-1", "PATH": "/usr/bin:/bin"} | environ
    try:
        load_config(tmp_path / "etc" / "agent.toml", environ, tmp_path, on_this_host=True)
    except (ConfigError, ConfigErrors) as error:
        return str(error).splitlines()
    return []


@pytest.mark.parametrize("program", ["./run.sh", "sh", "/bin/sh", "{test_path}", "./{platform}.sh"])
def test_a_command_that_is_there_passes_the_check(tmp_path: Path, program: str) -> None:
    assert checked(tmp_path, SUITE.replace("./run.sh", program)) == []


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("./gone.sh", r"is no program that is there in command\.cwd, .*/etc/suite"),
        ("/gone/run.sh", r"is no program that is there;"),
        ("./plain.sh", r"can't be executed"),
        ("/bin", r"can't be executed"),
        ("gone-from-path", r"is not on the PATH that tests get \(/usr/bin:/bin\)"),
    ],
)
def test_a_command_that_is_not_there_fails_the_check(tmp_path: Path, program: str, why: str) -> None:
    (line,) = checked(tmp_path, SUITE.replace("./run.sh", program))
    assert re.match(rf"command\.argv: '{re.escape(program)}' \(from .*agent\.toml\) {why}", line)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is the #! line missing"),
        ("echo ok\n", "is the #! line missing"),
        ("\ufeff#!/bin/sh\n", "is the #! line missing"),
        ("#!/nope/sh\n", "is to be run by '/nope/sh', by its first line (#!)"),
        ("#!/bin/sh\r\n", r"is to be run by '/bin/sh\r'"),
        ("#!/bin -x\n", "is to be run by '/bin'"),
        ("#!\n", "is to be run by ''"),
    ],
)
def test_a_script_that_nothing_can_run_fails_the_check(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "bin").mkdir()
    for path in (tmp_path / "etc" / "suite" / "begun.sh", tmp_path / "bin" / "begun-from-path"):
        path.parent.mkdir(parents=True, exist_ok=True)
        script(path, text)
    (line,) = checked(tmp_path, SUITE.replace("./run.sh", "./begun.sh"))
    assert why in line
    (line,) = checked(tmp_path, SUITE.replace("./run.sh", "begun-from-path"), PATH=f"{tmp_path / 'bin'}")
    assert why in line


@pytest.mark.parametrize("text", ["#! /bin/sh -e\n", "#!\t/bin/sh\t-e\n", "#!interpreter\n", "\x7fELF\2\1\1\0", "MZ\0"])
def test_what_the_system_may_run_passes_the_check(tmp_path: Path, text: str) -> None:
    suite = tmp_path / "etc" / "suite"
    suite.mkdir(parents=True)
    script(suite / "begun.sh", text)
    script(suite / "interpreter", "#!/bin/sh\n")  # found from the folder that the command is started in
    assert checked(tmp_path, SUITE.replace("./run.sh", "./begun.sh")) == []


def test_of_several_on_the_path_one_that_can_be_run_is_enough(tmp_path: Path) -> None:
    for folder, text in (("a", "echo ok\n"), ("b", "#!/bin/sh\n")):
        (tmp_path / folder).mkdir()
        script(tmp_path / folder / "twice", text)
    toml = SUITE.replace("./run.sh", "twice")
    assert checked(tmp_path, toml, PATH=f"{tmp_path / 'a'}:{tmp_path / 'b'}") == []
    assert checked(tmp_path, toml, PATH=f"{tmp_path / 'a'}") != []


def test_a_missing_working_folder_fails_the_check(tmp_path: Path) -> None:
    (line,) = checked(tmp_path, SUITE.replace('"suite"', '"elsewhere"'))
    assert re.match(r"command\.cwd: .* \(from .*agent\.toml\) is not there;", line)
    (line,) = checked(tmp_path, SUITE, COMMAND_CWD="etc/suite/run.sh")
    assert re.match(r"COMMAND_CWD: .* \(from the environment\) is no folder;", line)


def test_where_tests_get_no_path_the_systems_counts(tmp_path: Path) -> None:
    program = tmp_path / "bin" / "only-here"
    program.parent.mkdir()
    script(program, "#!/bin/sh\n")
    toml = SUITE.replace("./run.sh", "only-here")
    assert checked(tmp_path, toml, PATH=str(program.parent)) == []
    assert checked(tmp_path, toml + 'env_allow = ["HOME"]', PATH=str(program.parent)) != []


def test_the_simulated_runner_starts_no_command(tmp_path: Path) -> None:
    assert checked(tmp_path, SUITE.replace('"command"', '"simulated"').replace('"suite"', '"gone"')) == []


def test_a_start_does_not_look_for_what_may_come_later(tmp_path: Path) -> None:
    assert load(tmp_path, SUITE.replace('"suite"', '"gone"')).runner == "command"


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    lines = checked(tmp_path, 'drain_second = 3\nlog_level = "loud"\n' + SUITE)
    assert [line.partition(":")[0] for line in lines] == ["log_level", "drain_second"]
    device = '[[devices]]\nudid = "a"\ntarget = "device"\nos_version = "14."\n'
    lines = checked(tmp_path, SUITE.replace('"suite"', '"gone"').replace("./run.sh", "gone") + device * 2)
    assert [line.partition(":")[0] for line in lines] == [
        "devices[0].os_version", "devices[1].os_version", "devices", "command.cwd", "command.argv",
    ]  # fmt: skip


@pytest.mark.parametrize(("count", "told"), [(1, "1 device"), (2, "2 devices")])
def test_the_check_counts_the_devices(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, told: str
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f'agent_id = "agent-1"\nstate_dir = "state"\n[simulated.generate]\ncount = {count}\n')
    assert main(["--config", str(file), "--check"]) == 0
    assert capsys.readouterr().out == f"ok: agent agent-1, {told}, runner simulated\n"


def test_the_check_loads_nothing_that_only_an_agent_at_work_needs(tmp_path: Path) -> None:
    """`qgjob up` waits for it, and so does whoever tries one setting after the other."""
    code = (
        "import sys\nfrom qgjob_agent.__main__ import main\nassert main(['--check']) == 0\n"
        "print(sorted({'asyncio', 'grpc', 'structlog', 'psutil', 'qgjob_agent.app'} & set(sys.modules)))"
    )
    environ = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    settings = {"AGENT_ID": "agent-1", "STATE_DIR": str(tmp_path / "state")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ | settings, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[1:] == ["[]"]


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ("[adb]\nenabled = true", "Android devices of the adb server at 127.0.0.1:5037"),
        ("[apple]\nenabled = true", "simulators of this Mac"),
        ("[apple]\nenabled = true\nphysical = true", "simulators, iPhones and iPads of this Mac"),
        (
            "[adb]\nenabled = true\nport = 5038\n[apple]\nenabled = true",
            "Android devices of the adb server at 127.0.0.1:5038 and simulators of this Mac",
        ),
    ],
)
def test_the_check_says_where_devices_are_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tables: str, said: str
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f'agent_id = "a1"\n{tables}\n')
    assert main(["--config", str(file), "--check"]) == 0
    assert capsys.readouterr().out == f"ok: agent a1, {said}, runner simulated\n"


def test_what_is_set_of_apples_devices_is_read(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[apple]\nenabled = true\nprogram = "tools/xcrun"\nerase = "ORGS"\n')
    config = load_config(file, {"QGJOB_APPLE_UDIDS": "A-1, B-2", "APPLE_BOOT": "false"}, tmp_path)
    assert config.finds_devices
    assert config.device_facts == []
    assert (config.apple.program, config.apple.erase) == (tmp_path / "tools" / "xcrun", "orgs")
    assert (config.apple.udids, config.apple.boot) == (("A-1", "B-2"), False)
    file.write_text('[apple]\nerase = "always"\n')
    with pytest.raises(ConfigError, match=r"apple\.erase"):
        load_config(file, {}, tmp_path)


def test_the_check_prints_each_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('agent_id = "agent-1"\nrunner = "command"\n[command]\nargv = ["/gone"]\ncwd = "gone"\n')
    assert main(["--config", str(file), "--check"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(":")[:2] for line in err.splitlines()] == [["error", " command.cwd"], ["error", " command.argv"]]


@pytest.fixture
def closed() -> Iterator[Path]:
    """A folder that the agent's user may not enter; others may enter the one around it."""
    with open_to_all() as around:
        folder = around / "closed"
        folder.mkdir()
        (folder / "prog").touch(0o755)
        folder.chmod(0o000)
        yield folder
        folder.chmod(0o700)


@pytest.mark.parametrize("below", ["", "/x", "/x/deeper"])
@pytest.mark.parametrize("on_this_host", [False, True])
def test_a_state_folder_below_one_that_may_not_be_entered(closed: Path, on_this_host: bool, below: str) -> None:
    environ = {"AGENT_ID": "agent-1", "STATE_DIR": f"{closed}{below}"}
    with unprivileged(), pytest.raises(ConfigError) as caught:
        load_config(None, environ, closed.parent, on_this_host=on_this_host)
    why = f"is under {closed}, which may not be entered" if below else "may not be entered"
    assert str(caught.value) == (
        f"STATE_DIR: '{closed}{below}' (from the environment) {why}; choose another folder, or open it to this user"
    )


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        (
            {"COMMAND_CWD": "closed/y", "COMMAND_ARGV": "./prog"},
            ["COMMAND_CWD: 'closed/y' (from the environment) may not be entered; "],
        ),
        (
            {"COMMAND_CWD": "closed", "COMMAND_ARGV": "./prog"},
            ["COMMAND_CWD: 'closed' (from the environment) may not be entered; "],
        ),
        (
            {"COMMAND_ARGV": "closed/prog {test_path}"},
            ["COMMAND_ARGV: 'closed/prog {test_path}' (from the environment) is below a folder that may not be "],
        ),
        (
            {"COMMAND_CWD": "closed/y", "COMMAND_ARGV": "{closed}/prog"},
            ["COMMAND_CWD: 'closed/y' ", "COMMAND_ARGV: '{closed}/prog' (from the environment) is below a folder"],
        ),
    ],
)
def test_a_command_below_a_folder_that_may_not_be_entered(
    closed: Path, variables: dict[str, str], told: list[str]
) -> None:
    absolute = {name: value.replace("{closed}", str(closed)) for name, value in variables.items()}
    environ = {"AGENT_ID": "agent-1", "PATH": "/usr/bin:/bin", "RUNNER": "command", "STATE_DIR": "state"} | absolute
    with unprivileged(), pytest.raises(AgentError) as caught:
        load_config(None, environ, closed.parent, on_this_host=True)
    lines = str(caught.value).splitlines()
    assert len(lines) == len(told)
    for line, beginning in zip(lines, told, strict=True):
        assert line.startswith(beginning.replace("{closed}", str(closed)))


def test_an_agent_whose_jobs_bring_their_suites_needs_none_of_its_own(tmp_path: Path) -> None:
    settings = {"AGENT_ID": "agent-1", "RUNNER": "appwright", "APPWRIGHT_PROJECT": "android", "PATH": "/bin"}
    account = {"BROWSERSTACK_ENABLED": "true", "BROWSERSTACK_USERNAME": "ada", "BROWSERSTACK_ACCESS_KEY": "key"}
    account |= {"BROWSERSTACK_MODEL": "Google Pixel 8", "BROWSERSTACK_OS_VERSION": "14.0"}
    own, others = {"APPWRIGHT_APPIUM": "appium --port {port}"}, {"APPWRIGHT_APPIUM_URL": "http://127.0.0.1:4723"}
    for more in (own, others, account):
        assert load_config(None, settings | more, tmp_path).appwright.suite_dir is None


def test_suites_lie_with_the_state_or_where_the_agents_of_a_user_share_them(tmp_path: Path) -> None:
    def of(**environ: str) -> Path:
        return load_config(None, {"AGENT_ID": "agent-1", **environ}, tmp_path).suites_path

    assert of() == Path.home() / ".local" / "state" / "qgjob" / "suites"
    assert of(STATE_DIR="mine") == tmp_path / "mine" / "suites"
    assert of(STATE_DIR="mine", SUITES_CACHE_DIR="shared") == tmp_path / "shared"


def test_what_the_appwright_runner_needs_is_looked_for_on_this_host(tmp_path: Path) -> None:
    settings = {"AGENT_ID": "agent-1", "RUNNER": "appwright", "APPWRIGHT_PROJECT": "android", "PATH": "/nowhere"}
    suite = settings | {"APPWRIGHT_SUITE_DIR": "suite", "APPWRIGHT_NODE": "no-node"}
    with pytest.raises(ConfigErrors) as raised:
        load_config(None, suite, tmp_path, on_this_host=True)
    first, second = str(raised.value).splitlines()
    assert first == (
        "APPWRIGHT_SUITE_DIR: 'suite' (from the environment) is not there; make the folder, or name another"
    )
    assert second.endswith("is not on the PATH that tests get (/nowhere); name its path, or see appwright.env_allow")
    (tmp_path / "suite").mkdir()
    config = load_config(None, suite | {"APPWRIGHT_NODE": "/bin/sh"}, tmp_path, on_this_host=True)
    assert config.appwright.suite_dir == tmp_path / "suite"
    assert config.test_environ == {"PATH": "/nowhere"}
