"""A slip in a setting's name is told by all three programs, and what is other programs' is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from qgjob.cli import settings as cli_settings
from qgjob.cli.setting_names import NAMES, WITH_PREFIX_ONLY, strays
from qgjob_agent.__main__ import main as agent
from qgjob_agent.config import AgentConfig
from qgjob_agent.runners.command_template import PLACEHOLDERS, variables
from qgjob_coordinator.__main__ import main as coordinator
from qgjob_coordinator.config import PREFIX, Settings
from tests.unit.cli.conftest import Command


def told(
    environment: dict[str, str] | None = None, file: dict[str, str] | None = None, *, bare: bool = True
) -> list[str]:
    return [each.line for each in strays(environment or {}, file or {}, ".env", bare=bare)]


def of_agent(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from of_agent(kind, f"{prefix}{name}_")
        elif name != "devices" and not field.exclude:
            yield f"{prefix}{name}".upper()


def test_the_names_are_those_that_the_programs_read() -> None:
    of_coordinator = {
        str(name).removeprefix(PREFIX)
        for field in Settings.model_fields.values()
        for name in getattr(field.validation_alias, "choices", ())
    }
    of_client = {name.upper() for name in cli_settings._KNOWN}
    expected = (of_coordinator - {"NODE_ENV"}) | set(of_agent(AgentConfig)) | of_client | {"AGENT_CONFIG"}
    assert {*NAMES, *WITH_PREFIX_ONLY} == expected


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("QGJOB_COORDINATR", "did you mean QGJOB_COORDINATOR?"),
        ("QGJOB_REDIS", "env.example lists them all"),
        ("QGJOB_SIMULATED_SEEDS", "did you mean QGJOB_SIMULATED_SEED?"),
        ("QGJOB_X", "env.example lists them all"),
        ("QGJOB_TOKN", "did you mean QGJOB_TOKEN?"),
    ],
)
def test_a_prefixed_name_that_nobody_knows_is_told_wherever_it_is(name: str, advice: str) -> None:
    assert told({name: "s3cret"}) == [f"{name} (from the environment) is not a setting; {advice}"]
    assert told(file={name: "s3cret"}, bare=False) == [f"{name} (from .env) is not a setting; {advice}"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [("PROT", "PORT"), ("port", "PORT"), ("POR", "PORT"), ("PORTT", "PORT"), ("REDIS_URI", "REDIS_URL"),
     ("HEARTBEAT_SECOND", "HEARTBEAT_SECONDS"), ("MAX_RETREIS", "MAX_RETRIES")],
)  # fmt: skip
def test_a_name_of_the_file_that_is_one_slip_off_is_told(name: str, meant: str) -> None:
    assert told(file={name: "1"}) == [f"{name} (from .env) is not a setting; did you mean {meant}?"]
    assert told({name: "1"}) == told(file={name: "1"}, bare=False) == []


def test_what_is_read_or_handed_down_or_another_programs_is_left_alone() -> None:
    names = [*NAMES, *(PREFIX + name for name in (*NAMES, *WITH_PREFIX_ONLY))]
    names += [
        *variables(dict.fromkeys(PLACEHOLDERS, "")),
        "QGJOB_HANDED_DOWN",
        "QGJOB_EXECUTION",
        "QGJOB_DEMO_MARK",
        "NODE_ENV",
    ]
    names += ["PATH", "DATABASE_URL", "GRPC_HOST", "DB_HOST", "DB_PORT", "REDIS_PASSWORD", "DEBUG", "TOKENS", ""]
    assert told(dict.fromkeys(names, "1"), dict.fromkeys(names, "1")) == []


def test_the_programs_warn_of_it(
    qgjob: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("QGJOB_COORDINATR", "lab:50051")
    monkeypatch.setenv("QGJOB_AGENT_ID", "agent-1")
    Path(".env").write_text("PROT=3001\n")
    environment = "warning: QGJOB_COORDINATR (from the environment) is not a setting; did you mean QGJOB_COORDINATOR?"
    file = f"warning: PROT (from {Path('.env').resolve()}) is not a setting; did you mean PORT?"
    for check in (coordinator, agent):
        assert check(["--check"]) == 0
        assert capfd.readouterr().err.splitlines() == [environment, file]
    viewed = qgjob("config", "view", "-o", "json")
    assert (viewed.code, viewed.err.splitlines()) == (0, [environment])
    assert viewed.json["count"]
    asked = qgjob("devices", "ls", "--coordinator=127.0.0.1:1")
    assert asked.err.splitlines()[0] == environment
