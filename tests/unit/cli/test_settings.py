"""Flag, then QGJOB_*, then ./qgjob.toml, then the user's file, then the default; wrong ones name their source."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qgjob import ConfigError
from qgjob.cli.dotenv import Environment, parse_dotenv, read_environment
from qgjob.cli.settings import resolve
from tests.unit.cli.conftest import Command


def origin_of(name: str, tmp_path: Path, **sources: str) -> tuple[object, str]:
    cwd, user = tmp_path / "cwd", tmp_path / "user.toml"
    if "project" in sources:
        (cwd / "qgjob.toml").write_text(f'{name} = "{sources["project"]}"\n')
    if "user" in sources:
        user.write_text(f'{name} = "{sources["user"]}"\n')
    variable = f"QGJOB_{name.upper()}"
    process = {variable: sources["env"]} if "env" in sources else {}
    file = {variable: sources["dotenv"]} if "dotenv" in sources else {}
    flags = {name: sources.get("flag")}
    found = next(each for each in resolve(flags, Environment(process, file), cwd, user) if each.name == name)
    return found.value, found.origin


def test_each_source_wins_over_those_after_it(tmp_path: Path) -> None:
    sources = {"flag": "a", "env": "b", "dotenv": "c", "project": "d", "user": "e"}
    origins = {
        "flag": "flag --coordinator",
        "env": "environment variable QGJOB_COORDINATOR",
        "dotenv": "QGJOB_COORDINATOR in .env",
        "project": str(tmp_path / "cwd" / "qgjob.toml"),
        "user": str(tmp_path / "user.toml"),
    }
    for source, value in list(sources.items()):
        assert origin_of("coordinator", tmp_path, **sources) == (value, origins[source])
        del sources[source]
        for file in (tmp_path / "cwd" / "qgjob.toml", tmp_path / "user.toml"):
            file.unlink(missing_ok=True)
    assert origin_of("coordinator", tmp_path) == ("localhost:50051", "default")


def test_an_empty_variable_is_not_set(tmp_path: Path) -> None:
    assert origin_of("coordinator", tmp_path, env="", user="e")[0] == "e"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('output = "xml"', r"output: 'xml' \(from .*qgjob\.toml\) must be one of table, json, jsonl"),
        ("timeout_seconds = -1", r"timeout_seconds: -1 \(from .*qgjob\.toml\) must be over 0"),
        ('timeout_seconds = "30"', r"timeout_seconds: '30' \(from .*qgjob\.toml\) must be a number .*, without quotes"),
        ('timeout_seconds = "soon"', r"timeout_seconds: 'soon' \(from .*qgjob\.toml\) must be a number"),
        ("coordinator = 5", r"coordinator: 5 \(from .*qgjob\.toml\) must be a text"),
        ("colour = true", r"colour: is not a setting for .*qgjob\.toml"),
        ('token = "secret"', r"token: is not a setting for .*qgjob\.toml; set QGJOB_TOKEN"),
        ("not toml", r"qgjob\.toml: is not valid TOML"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_source(content: str, message: str, qgjob: Command) -> None:
    Path("qgjob.toml").write_text(content)
    result = qgjob("config", "view")
    assert result.code == 2
    assert result.out == ""
    assert len(result.err.splitlines()) == 1
    assert re.search(message, result.err)


def test_view_shows_origins_and_hides_the_token(qgjob: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QGJOB_TOKEN", "s3cret")
    Path("qgjob.toml").write_text('org_id = "acme"\n')
    result = qgjob("config", "view", "--show-origin", "-o", "json")
    assert "s3cret" not in result.out
    shown = {each["name"]: (each["value"], each["origin"]) for each in result.json["settings"]}
    assert shown["token"] == ("(hidden)", "environment variable QGJOB_TOKEN")
    assert shown["org_id"][0] == "acme"
    assert shown["org_id"][1].endswith("qgjob.toml")
    assert shown["output"] == ("json", "flag --output")
    assert "ORIGIN" in qgjob("config", "view").out
    assert qgjob("config", "view", "--show-origin").out == qgjob("config", "view").out


def test_a_wrong_token_is_not_told() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve({"token": 5}, Environment({}), Path("/nowhere"), Path("/nowhere"))
    assert "(hidden)" in caught.value.message


def test_a_dotenv_file() -> None:
    text = """
    # comment
    A=1
    export B = two words  # comment
    C="quoted # no comment"
    D='single'
    E=
    F=a#b
    G="two
lines"
    """
    assert parse_dotenv(text) == {
        "A": "1", "B": "two words", "C": "quoted # no comment", "D": "single", "E": "", "F": "a#b",
        "G": "two\nlines",
    }  # fmt: skip


def test_the_process_wins_over_the_file(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("QGJOB_X=file\nX=bare file\n")
    environment = read_environment({"X": "bare process"}, tmp_path)
    assert environment.lookup("QGJOB_X", "X") == ("bare process", "environment variable X")
    assert environment.lookup("QGJOB_X") == ("file", "QGJOB_X in .env")
    assert environment.lookup("Y") is None
