"""Whether the user that a service is to run as may do what an agent does there. It is tried as that user."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qgjob_agent
from qgjob_agent.errors import ServiceError
from qgjob_agent.host.places import Place, look

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_TESTS = {"read": "-r", "write": "-w", "start": "-x", "enter": "-x"}
_TRY_SECONDS = 20.0
_TRY = 'n=0; while [ $# -gt 1 ]; do test "$1" "$2" || echo $n; n=$((n+1)); shift 2; done'
"""Prints the numbers of the pairs of test and path that fail."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What an agent has to reach. `state_dir` as it is set; None: `below_home` of its user."""

    config_file: Path
    program: Path
    state_dir: Path | None
    below_home: Path


@dataclass(frozen=True, slots=True)
class Need:
    """What has to be done (one of _TESTS) with a path that is there, what that is, and what to do where it fails."""

    verb: str
    path: Path
    what: str
    advice: str


def account_of(user: str) -> pwd.struct_passwd:
    """Raises ServiceError where there is no such user."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ServiceError(
            f"--run-as: there is no user {user!r} here; make it: useradd --system --create-home {user}", 2
        ) from None


def check(reach: Reach, account: pwd.struct_passwd) -> None:
    """Raises ServiceError for the first thing that the user may not do."""
    steps = [(need, verb, path) for need in _needs(reach, account) for verb, path in _steps(need)]
    failed = _failing([(verb, path) for _, verb, path in steps], account)
    if failed is None:
        return
    need, verb, path = steps[failed]
    wanted = f"{need.verb} {need.path} ({need.what})"
    why = wanted if path == need.path else f"{verb} {path}, and has to {wanted}"
    raise ServiceError(f"--run-as: {account.pw_name!r} may not {why}; {need.advice}", 2)


def _needs(reach: Reach, account: pwd.struct_passwd) -> Iterator[Need]:
    advice = "open it to that user, or put it where that user may read it, as in /etc/qgjob"
    yield Need("read", reach.config_file, "--config", advice)
    advice = "install qgjob where every user may read it, as below /opt"
    yield Need("start", reach.program, "the program", advice)
    yield Need("start", Path(sys.executable), "its Python", advice)
    yield Need("read", Path(qgjob_agent.__file__), "its package", advice)
    yield from _needs_of_state(reach, account)


def _needs_of_state(reach: Reach, account: pwd.struct_passwd) -> Iterator[Need]:
    """A state_dir that is named and not there is made for the user; one below their home they make themselves."""
    home, user = Path(account.pw_dir), account.pw_name
    if reach.state_dir is None and look(home) is Place.MISSING:
        what = f"the home {home} of {user!r} is not there, and the agent keeps its state below it"
        raise ServiceError(f"--run-as: {what}; make it (mkhomedir_helper {user}), or set state_dir in agent.toml", 2)
    path = reach.state_dir or home / reach.below_home
    there = next(each for each in (path, *path.parents) if look(each) is not Place.MISSING)
    what = "for its state, since state_dir is not set" if reach.state_dir is None else "state_dir"
    other = "set state_dir in agent.toml to a folder of that user"
    if there != path and reach.state_dir is not None:
        yield Need("enter", there, what, f"open it to that user (chmod o+x {there}), or {other}")
        return
    theirs = there == path or home in there.parents  # not the home itself: that may be a folder of the system
    advice = f"give it to that user (chown -R {user} {there}), or {other}" if theirs else other
    yield Need("write", there, what, advice)
    yield Need("enter", there, what, advice)
    if look(path / "lock") is Place.FILE:  # of another user's agent, where this one may write to the folder
        yield Need("write", path / "lock", what, advice)


def _steps(need: Need) -> Iterator[tuple[str, Path]]:
    """What is tried, in order: to enter each folder on the way there, that of links too, and what is to be done."""
    real = Path(os.path.realpath(need.path))
    for folder in (*reversed(need.path.parents), *reversed(real.parents)):
        yield "enter", folder
    yield need.verb, need.path


def _failing(steps: Sequence[tuple[str, Path]], account: pwd.struct_passwd) -> int | None:
    """The number of the first step that fails for a user; None where none does."""
    words = [word for verb, path in steps for word in (_TESTS[verb], str(path))]
    other: dict[str, Any] = {}
    if account.pw_uid != os.geteuid():
        groups = os.getgrouplist(account.pw_name, account.pw_gid)
        other = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": groups}
    try:
        tried = subprocess.run(  # noqa: S603 - of the host itself
            ["/bin/sh", "-c", _TRY, "sh", *words], cwd="/", env={}, capture_output=True, text=True,
            timeout=_TRY_SECONDS, check=True, **other,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        what = f"it can't be tried what {account.pw_name!r} may do here ({error})"
        raise ServiceError(f"--run-as: {what}; run this as root, on a host whose disks answer") from error
    return next((int(line) for line in tried.stdout.split()), None)
