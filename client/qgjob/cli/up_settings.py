"""What `qgjob up` takes from options and environment, and what it hands to the programs that it starts."""

from __future__ import annotations

import contextlib
import errno
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from qgjob._errors import ConfigError, QgjobError
from qgjob.cli.dotenv import Environment

AGENTS = ("agent-1", "agent-2")
DATA_FOLDER = ".qgjob"
DEFAULTS = "the defaults"
_MAX_PORT = 65_535
_MAX_PID = 2**31 - 1
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 - to be turned into loopback


@dataclass(frozen=True, slots=True)
class Options:
    """The command's options as given; None leaves the agent's own default."""

    sim_seed: int | None = None
    sim_failure_rate: float | None = None
    sim_install_seconds: float | None = None
    sim_test_seconds: str | None = None
    agent_config: Path | None = None


@dataclass(frozen=True, slots=True)
class StackSettings:
    """Where the stack listens and where it keeps its data. `redis_url` only when it was set.

    `parent_pid` is the process that the stack ends with, where there is one.
    """

    host: str
    port: int
    grpc_port: int
    redis_url: str | None
    durability: str
    data: Path
    parent_pid: int | None = None

    @property
    def store(self) -> Path:
        """The folder of the private store's data."""
        return self.data / "store"

    @property
    def reachable_host(self) -> str:
        """How this machine reaches `host`."""
        return _ANY_ADDRESS.get(self.host, self.host)

    @property
    def grpc_address(self) -> str:
        """Where clients and agents of this machine find the coordinator."""
        host = self.reachable_host
        return f"[{host}]:{self.grpc_port}" if ":" in host else f"{host}:{self.grpc_port}"


class PortTakenError(QgjobError):
    """Somebody else listens there."""

    short = "port_taken"


def stack_settings(environment: Environment, cwd: Path) -> StackSettings:
    """The settings by the environment. Raises ConfigError naming setting, value and source."""
    _check_mode(environment)
    port, grpc_port = _port(environment, "PORT", 3000), _port(environment, "GRPC_PORT", 50051)
    if port == grpc_port != 0:
        said, _, source = _lookup(environment, "GRPC_PORT", "")
        raise ConfigError(f"{said}: {grpc_port} (from {source}) is PORT too; set another port")
    return StackSettings(
        host=_lookup(environment, "HOST", "127.0.0.1")[1],
        port=port,
        grpc_port=grpc_port,
        redis_url=_lookup(environment, "REDIS_URL", "")[1] or None,
        durability=_lookup(environment, "DURABILITY", "everysec")[1],
        data=cwd / DATA_FOLDER,
        parent_pid=_parent_pid(environment),
    )


def check_ports(settings: StackSettings, environment: Environment) -> StackSettings:
    """The settings with a free port for each that is 0.

    Raises ConfigError for a host that is not this machine, PortTakenError naming the ports that can't be had.
    """
    found: list[int] = []
    taken: list[str] = []
    with contextlib.ExitStack() as held:  # so that two free ports differ
        for name, port in (("PORT", settings.port), ("GRPC_PORT", settings.grpc_port)):
            family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
            probe = held.enter_context(socket.socket(family, socket.SOCK_STREAM))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, port))
            except OSError as error:
                if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                    said, value, source = _lookup(environment, "HOST", settings.host)
                    raise ConfigError(
                        f"{said}: {value!r} (from {source}) is no address of this machine ({error.strerror}); "
                        "set one that is, or 127.0.0.1"
                    ) from error
                said, _, source = _lookup(environment, name, "")
                taken.append(f"{said}: {port} (from {source}) can't be used on {settings.host} ({error.strerror})")
            found.append(int(probe.getsockname()[1]))
    if taken:
        what = "what uses it, or set another port" if len(taken) == 1 else "what uses them, or set other ports"
        raise PortTakenError(f"{'; '.join(taken)}; stop {what}")
    return replace(settings, port=found[0], grpc_port=found[1])


def coordinator_environment(
    base: Mapping[str, str], settings: StackSettings, redis_url: str, parent_pid: int
) -> dict[str, str]:
    """What the coordinator is started with; it ends by itself when this process has gone.

    The prefix QGJOB_ makes these win over all else that is set.
    """
    return {
        **base,
        "QGJOB_HOST": settings.host,
        "QGJOB_PORT": str(settings.port),
        "QGJOB_GRPC_PORT": str(settings.grpc_port),
        "QGJOB_REDIS_URL": redis_url,
        "QGJOB_PARENT_PID": str(parent_pid),
    }


def agent_environment(
    base: Mapping[str, str], settings: StackSettings, options: Options, agent_id: str, parent_pid: int
) -> dict[str, str]:
    """What one agent is started with. It ends at once when told to, and by itself when this process has gone."""
    prefix = _generate_prefix(options.agent_config)
    simulated = {
        "QGJOB_SIMULATED_SEED": options.sim_seed,
        "QGJOB_SIMULATED_FAILURE_RATE": options.sim_failure_rate,
        "QGJOB_SIMULATED_INSTALL_SECONDS": options.sim_install_seconds,
        "QGJOB_SIMULATED_TEST_SECONDS": _range(options.sim_test_seconds),
        "QGJOB_SIMULATED_GENERATE_PREFIX": prefix and f"{agent_id}.{prefix}",
        "QGJOB_AGENT_CONFIG": options.agent_config and options.agent_config.resolve(),
    }
    return {
        **base,
        "QGJOB_AGENT_ID": agent_id,
        "QGJOB_COORDINATOR": settings.grpc_address,
        "QGJOB_STATE_DIR": str(settings.data / "agents" / agent_id),
        "QGJOB_DRAIN_SECONDS": "0",
        "QGJOB_PARENT_PID": str(parent_pid),
        **{name: str(value) for name, value in simulated.items() if value is not None},
    }


def check_agent_config(options: Options, environment: Environment) -> None:
    """Raises ConfigError for a file that can't be both agents'. What else is wrong with it the agents tell."""
    name, path = "--agent-config", options.agent_config
    if path is None and (found := environment.first_set("QGJOB_AGENT_CONFIG")) is not None:
        name, path = found[0], Path(found[1])
    devices = _parsed(path).get("devices")
    for index, device in enumerate(devices if isinstance(devices, list) else ()):
        if isinstance(device, dict) and "device_id" in device:
            raise ConfigError(
                f"{name}: devices[{index}].device_id: {device['device_id']!r} (from {path}) would be the id of two "
                "devices; leave device_id out: the file is for both agents, and each makes ids of its own "
                f"({AGENTS[0]}.UDID)"
            )


def _parsed(agent_config: Path | None) -> dict[str, object]:
    """What a file holds; nothing where it makes no sense: the agent tells that, as in any other place."""
    try:
        return tomllib.loads(agent_config.read_text("utf-8")) if agent_config is not None else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        return {}


def _generate_prefix(agent_config: Path | None) -> str | None:
    """What the file calls generated devices; both agents read it, and their devices need different ids.

    None where it says nothing of them.
    """
    value: object = _parsed(agent_config)
    for name in ("simulated", "generate", "prefix"):
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) else None


def _range(text: str | None) -> str | None:
    """`2` as `2,2`, `1,3` as it is. Raises ConfigError."""
    if text is None:
        return None
    parts = text.split(",")
    try:
        low, high = float(parts[0]), float(parts[-1])
    except ValueError:
        raise ConfigError(f"--sim-test-seconds: {text!r} is not a number, nor two as in 1,3") from None
    if len(parts) > 2 or not 0 <= low <= high:
        raise ConfigError(f"--sim-test-seconds: {text!r} must be the shortest and the longest time, as in 1,3")
    return f"{low},{high}"


def _lookup(environment: Environment, name: str, default: str) -> tuple[str, str, str]:
    """(name as set, value, source)."""
    return environment.first_set(f"QGJOB_{name}", name) or (name, default, DEFAULTS)


def _check_mode(environment: Environment) -> None:
    """Raises ConfigError where a coordinator would be in production; it knows these names, in this order."""
    found = environment.first_set("QGJOB_ENVIRONMENT", "ENVIRONMENT", "NODE_ENV")
    if found is not None and found[1].lower() == "production":
        name, value, source = found
        raise ConfigError(
            f"{name}: {value!r} (from {source}) is not for `qgjob up`, a stack for development; run the programs"
        )


def _parent_pid(environment: Environment) -> int | None:
    """Raises ConfigError. What is no number is told by the coordinator, which has the setting too."""
    said, value, source = _lookup(environment, "PARENT_PID", "")
    try:
        pid = int(value)
    except ValueError:
        return None
    if not 1 < pid <= _MAX_PID:
        raise ConfigError(
            f"{said}: {value!r} (from {source}) is out of range; give a number over 1 and up to {_MAX_PID}"
        )
    return pid


def _port(environment: Environment, name: str, default: int) -> int:
    said, value, source = _lookup(environment, name, str(default))
    try:
        port = int(value)
    except ValueError:
        raise ConfigError(
            f"{said}: {value!r} (from {source}) is not a whole number; give one from 0 to {_MAX_PORT}"
        ) from None
    if not 0 <= port <= _MAX_PORT:
        raise ConfigError(f"{said}: {value!r} (from {source}) is out of range; give a number from 0 to {_MAX_PORT}")
    return port
