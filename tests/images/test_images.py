"""What can be said of docker/ without an engine: pinned, not root, only known settings, a health check that tells."""

from __future__ import annotations

import fnmatch
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from qgjob.cli.app import app
from qgjob_agent.config import load_config
from qgjob_coordinator.config import Settings
from tests.fakes.coordinator_process import CoordinatorProcess
from tests.images.dockerfile import FILES, FOLDER, ROOT, command, stages

IDS = [file.name for file in FILES]
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def pinned(image: str) -> bool:
    """Whether an image has a tag, and one that means a version."""
    _, colon, tag = image.rpartition(":")
    return bool(colon) and tag != "latest" and tag[:1].isdigit()


def test_there_is_an_image_of_each_program() -> None:
    assert IDS == ["agent.Dockerfile", "coordinator.Dockerfile"]


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_an_image_is_small_pinned_and_not_root(file: Path) -> None:
    first, last = stages(file)
    assert pinned(first.image)
    assert pinned(last.image)
    assert "-slim" in last.image
    assert last.of("USER")[-1] not in ("root", "0")
    (home,) = [word for word in last.of("RUN")[0].split() if word.startswith("/")]
    assert last.of("WORKDIR") == [home]  # which the user owns, and so does the volume that is mounted there
    assert not last.copied()
    assert last.of("HEALTHCHECK")
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    for source in first.copied():
        assert (ROOT / source).exists()
        assert any(fnmatch.fnmatch(source, each) for each in kept), f"{source} is not in the context"


@pytest.mark.parametrize("file", FILES, ids=IDS)
def test_what_an_image_starts_is_a_command(file: Path) -> None:
    last = stages(file)[-1]
    health = command(last.of("HEALTHCHECK")[-1])
    for words in [command(last.of("ENTRYPOINT")[-1]), *([health] if health[0] == "qgjob" else [])]:
        assert words[0] == "qgjob"
        names = [word for word in words[1:] if not word.startswith("-")]
        found = {each.name or "" for each in app.registered_groups}
        assert names[0] in found | {"coordinator"}


def test_compose_has_a_store_that_keeps_everything_and_is_reached_by_nobody_else() -> None:
    store = SERVICES["redis"]
    said = " ".join(store["command"])
    assert "--appendonly yes" in said
    assert "--maxmemory-policy noeviction" in said
    assert "ports" not in store
    assert any(each.endswith(":/data") for each in store["volumes"])
    assert {each.split(":")[0] for service in SERVICES.values() for each in service["volumes"]} == set(
        COMPOSE["volumes"]
    )


def test_compose_pins_its_images_and_publishes_to_this_host_alone() -> None:
    assert all(pinned(service["image"]) for service in SERVICES.values())
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)
    for service in SERVICES.values():
        if "build" in service:
            assert (FOLDER / service["build"]["context"] / service["build"]["dockerfile"]).resolve() in FILES
    assert len([name for name in SERVICES if name.startswith("agent-")]) == 2


def test_compose_sets_what_the_coordinator_knows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ: dict[str, str] = SERVICES["coordinator"]["environment"]
    names = {str(field.validation_alias.choices[0]).removeprefix("QGJOB_") for field in Settings.model_fields.values()}  # type: ignore[union-attr]
    assert {name.removeprefix("QGJOB_") for name in environ} <= names
    assert environ["HOST"] == "0.0.0.0"  # noqa: S104 - on purpose: see there
    monkeypatch.chdir(tmp_path)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    settings = Settings.load()
    assert str(settings.redis_url).startswith("redis://redis:")
    assert settings.blob_url.startswith("/var/lib/qgjob/")  # the volume


@pytest.mark.parametrize("name", ["agent-1", "agent-2"])
def test_compose_sets_what_the_agents_know(name: str, tmp_path: Path) -> None:
    service = SERVICES[name]
    environ: dict[str, str] = service["environment"]
    config = load_config(None, environ | {"STATE_DIR": str(tmp_path / environ["STATE_DIR"].lstrip("/"))}, tmp_path)
    assert (config.agent_id, config.coordinator) == (name, ("coordinator:50051",))
    assert config.device_facts
    assert environ["STATE_DIR"].startswith(service["volumes"][0].partition(":")[2])
    grace = float(service["stop_grace_period"].removesuffix("s"))
    assert grace >= config.drain_seconds + config.kill_grace_seconds + 15
    known = {"AGENT_ID", "COORDINATOR", "ENVIRONMENT", "STATE_DIR"}
    assert {each.removeprefix("QGJOB_") for each in environ} == known
    assert service["init"] is True


def test_the_health_check_tells_a_coordinator_that_serves_from_one_that_does_not(
    tmp_path: Path, redis_url: str
) -> None:
    (file,) = [each for each in FILES if each.name.startswith("coordinator")]
    words = command(stages(file)[-1].of("HEALTHCHECK")[-1])
    assert words[0] == "python"
    process = CoordinatorProcess(tmp_path / "coordinator", redis_url)

    def check() -> int:
        environ = {"PATH": os.environ["PATH"], "PORT": str(process.port)}
        run = [sys.executable, *words[1:]]
        return subprocess.run(run, env=environ, capture_output=True, check=False, timeout=30).returncode

    process.start()
    try:
        assert check() == 0
    finally:
        process.kill()
    assert check() != 0
