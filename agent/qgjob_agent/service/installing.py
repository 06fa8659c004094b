"""Writes and enables the service. What stands in the way is found before anything is changed."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qgjob_agent.errors import ServiceError
from qgjob_agent.service.access import Reach, account_of, check
from qgjob_agent.service.manager import Lookout, call, run
from qgjob_agent.service.rendering import PASSED_ON, Service, is_ours, plist, sealed, unit, variables
from qgjob_agent.service.states import SYSTEMD_ASKS, of_launchd, of_systemd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qgjob_agent.config import AgentConfig

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Machine:
    """What the service is installed on, and by whom. `etc` is where a system's units and variables are below."""

    platform: str
    uid: int
    home: Path
    environ: Mapping[str, str]
    etc: Path = Path("/etc")


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for. `run_as` is the user of a system's unit."""

    config_file: Path
    name: str = "qgjob-agent"
    user: bool = False
    run_as: str | None = None
    force: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be written where, and what is to be run then, in this order. `advice` is for the person."""

    file: Path
    text: str
    env_file: Path
    env_text: str
    enable: tuple[tuple[str, ...], ...]
    restart: str
    lookout: Lookout
    advice: str | None = None
    reach: Reach | None = None  # of the user that a system's unit names
    once: bool = False  # the last of `enable` fails where the manager has the service already

    @property
    def state_dir(self) -> Path | None:
        """As it is set, of a user who may not be one to make it."""
        return None if self.reach is None else self.reach.state_dir


def plan(wish: Wish, config: AgentConfig, machine: Machine) -> Plan:
    """What has to be done. Raises ServiceError for a wish that can't be met there."""
    if _NAME.fullmatch(wish.name) is None:
        raise ServiceError(f"--name: {wish.name!r} is no name; use letters, digits, '.', '_' and '-', at most 64", 2)
    if machine.platform == "darwin":
        return _launchd(wish, config, machine)
    if wish.user and wish.run_as is not None:
        raise ServiceError("--run-as: is for a service of the system; leave out --user, or --run-as", 2)
    if wish.user and machine.uid == 0:
        raise ServiceError(
            "--user: you are root; tests should not be: log in as the agent's user, or give --run-as USER", 2
        )
    if not wish.user and wish.run_as is None:
        raise ServiceError("--run-as: name the user that the agent and its tests are to run as (or give --user)", 2)
    return _systemd(wish, config, machine)


def _systemd(wish: Wish, config: AgentConfig, machine: Machine) -> Plan:
    if wish.user:
        base = Path(machine.environ.get("XDG_CONFIG_HOME") or machine.home / ".config")
        folder, env_file = base / "systemd" / "user", base / "qgjob" / f"{wish.name}.env"
        control: tuple[str, ...] = ("systemctl", "--user")
        advice = "to have it run while nobody is logged in: `loginctl enable-linger`"
    else:
        folder, env_file = machine.etc / "systemd" / "system", machine.etc / "qgjob" / f"{wish.name}.env"
        control, advice = ("systemctl",), None
    service = _service(wish, config, env_file)
    file = f"{wish.name}.service"
    return Plan(
        folder / file,
        sealed(unit(service)),
        env_file,
        variables(machine.environ, PASSED_ON),
        ((*control, "daemon-reload"), (*control, "enable", "--now", file)),
        " ".join((*control, "restart", file)),
        Lookout(
            (*control, "show", "-p", ",".join(SYSTEMD_ASKS), file),
            of_systemd,
            f"`journalctl{' --user' if wish.user else ''} -u {file} -n 50`",
        ),
        advice,
        None if wish.user else _reach(service, wish, config),
    )


def _reach(service: Service, wish: Wish, config: AgentConfig) -> Reach:
    return Reach(wish.config_file.absolute(), Path(service.argv[0]), config.state_dir, config.state_below_home)


def _launchd(wish: Wish, config: AgentConfig, machine: Machine) -> Plan:
    if wish.run_as is not None:
        raise ServiceError("--run-as: a LaunchAgent is of whoever is logged in at the screen; log in as that user", 2)
    if machine.uid == 0:
        raise ServiceError("you are root, and simulators want the session of a user: leave out sudo", 2)
    library = machine.home / "Library"
    service = _service(wish, config, library / "Application Support" / "qgjob" / wish.name / ".env")
    file = library / "LaunchAgents" / f"{wish.name}.plist"
    log = library / "Logs" / f"{wish.name}.log"
    domain = f"gui/{machine.uid}"
    return Plan(
        file,
        sealed(plist(service, machine.environ, log)),
        service.env_file,
        variables(machine.environ, ()),
        (("launchctl", "enable", f"{domain}/{wish.name}"), ("launchctl", "bootstrap", domain, str(file))),
        f"launchctl bootout {domain}/{wish.name}; launchctl bootstrap {domain} {file}",
        Lookout(("launchctl", "print", f"{domain}/{wish.name}"), of_launchd, f"`tail -n 50 {shlex.quote(str(log))}`"),
        "it runs while this user is logged in at the screen: let the Mac log in by itself, and not sleep",
        once=True,
    )


def _service(wish: Wish, config: AgentConfig, env_file: Path) -> Service:
    beside = Path(sys.executable).parent / "qgjob"
    start = (str(beside), "agent", "start") if beside.exists() else (sys.executable, "-m", "qgjob_agent")
    argv = (*start, "--config", str(wish.config_file.absolute()))
    return Service(wish.name, argv, env_file, config.drain_seconds, config.kill_grace_seconds, wish.run_as)


def install(wish: Wish, planned: Plan, machine: Machine) -> list[str]:
    """Writes what is not there yet, enables and starts it; gives what was done, a line each. Raises ServiceError.

    Done again it changes nothing. A file that somebody else wrote, or changed since, is only replaced by `force`.
    """
    before = _standing(planned.file)
    new = before != planned.text
    if before is not None and new and not is_ours(before) and not wish.force:
        why = "was not written by this command, or was changed since"
        raise ServiceError(
            f"{planned.file} {why}; look at it (--print shows the new one), and give --force to replace it"
        )
    account = None if wish.run_as is None else account_of(wish.run_as)
    if account is not None and machine.uid != 0:
        raise ServiceError(f"{planned.file} is the system's: only root may write it; use sudo, --user or --print")
    if account is not None and planned.reach is not None:
        check(planned.reach, account)
    told = [_keep_variables(planned)]
    if account is not None and (state := planned.state_dir) is not None and not state.exists():
        told.append(_make_state_dir(state, account))
    if new:
        _write(planned.file, planned.text, 0o644)
    told.append(f"{'written' if new else 'as it should be'}: {planned.file}")
    there = planned.once and call(planned.lookout.command, machine.environ).returncode == 0
    for command in planned.enable[: -1 if there else None]:
        run(command, machine.environ, f"mend that and run this again; its log: {planned.lookout.log}")
    told.append(f"enabled: {wish.name}")
    if new and before is not None:
        told.append(f"one that runs takes up the change when it is started again: {planned.restart}")
    return told if planned.advice is None else [*told, planned.advice]


def _make_state_dir(path: Path, account: pwd.struct_passwd) -> str:
    """Below folders of root the agent could not make it itself."""
    try:
        path.mkdir(mode=0o700, parents=True)
        os.chown(path, account.pw_uid, account.pw_gid)
    except OSError as error:
        raise ServiceError(f"state_dir {path} can't be made for {account.pw_name}: {error.strerror}") from error
    return f"made: {path}, of {account.pw_name}"


def _standing(file: Path) -> str | None:
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(f"{file} can't be read: {error}") from error


def standing_variables(planned: Plan) -> str:
    """What the file of variables holds once the service is installed."""
    try:
        return planned.env_file.read_text("utf-8", errors="replace")
    except OSError:
        return planned.env_text  # not there; or of root, and only shown: then more is told than may be missing


def _keep_variables(planned: Plan) -> str:
    """What is in the file of variables stays; nobody else may read it, whoever made it."""
    file = planned.env_file
    try:
        if not file.exists():
            _write(file, planned.env_text, 0o600)
            return f"written: {file} (the token and other variables go there)"
        if file.stat().st_mode & 0o077:
            file.chmod(0o600)
            return f"kept: {file}, which others could read until now (its mode is 0600)"
    except OSError as error:
        raise ServiceError(f"{file} can't be kept to its owner: {error.strerror}") from error
    return f"kept: {file}"


def _write(file: Path, text: str, mode: int) -> None:
    """Whole or not at all, and never readable by more than `mode` says."""
    draft = file.with_name(f".{file.name}.new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(text)
            os.fchmod(opened.fileno(), mode)
            os.fsync(opened.fileno())
        draft.replace(file)
    except OSError as error:
        raise ServiceError(f"{file} can't be written: {error.strerror}") from error
