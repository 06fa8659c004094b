"""How attempts are put together into runs, and what a run is told: its words, its variables, its plan file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from qgjob_agent.host.places import Place, look

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from qgjob_agent.core.values import Assignment

JS = Path(__file__).parent / "js"
PLAN_VARIABLE = "QGJOB_APPWRIGHT_PLAN"
PATH_VARIABLE = "QGJOB_APPWRIGHT_PATH"


class TestPathError(ValueError):
    """A test path can't be run: says why."""

    __test__ = False  # pytest would take it for a class of tests


def split(assignments: Sequence[Assignment], most: int) -> list[list[Assignment]]:
    """Groups that one process can carry out, in order: of one environment, suite and build, no test file twice."""
    groups: list[list[Assignment]] = []
    files: set[str] = set()
    for each in assignments:
        file = str(PurePosixPath(each.test_path))
        if not groups or len(groups[-1]) >= most or file in files or kind(each) != kind(groups[-1][0]):
            groups.append([])
            files = set()
        groups[-1].append(each)
        files.add(file)
    return groups


def kind(each: Assignment) -> tuple[object, ...]:
    """What attempts of one process have in common."""
    return (each.env, each.suite_digest, each.org_id, each.app_version_id, each.build_digest, each.target)


def test_file(suite: Path, test_path: str) -> Path:
    """Where a test file is. Raises TestPathError for one that is not there, or is outside of the suite."""
    path = Path(os.path.normpath(suite / test_path))  # as Playwright names it
    found = look(path)
    if found is Place.CLOSED:
        raise TestPathError(f"test_path {test_path!r} may not be looked at by this user; open {path} to it")
    if not path.is_relative_to(os.path.normpath(suite)) or (
        found is not Place.MISSING and not path.resolve().is_relative_to(suite.resolve())
    ):
        raise TestPathError(f"test_path {test_path!r} is outside of the suite; name a file below {suite}")
    if found is not Place.FILE:
        raise TestPathError(f"test_path {test_path!r} is no file in the suite {suite}; name a test file of it")
    return path


test_file.__test__ = False  # type: ignore[attr-defined]  # pytest would take it for a test


@dataclass(frozen=True, slots=True)
class Tools:
    """What runs a suite: the node program, Playwright's folder, the suite's config and the project in it."""

    node: str
    playwright: Path
    config: str
    project: str


def words(tools: Tools, files: Sequence[Path], output: Path) -> list[str]:
    """The command. Playwright's own retries, workers and ends of a run are out of the way: this agent decides."""
    return [
        tools.node,
        str(tools.playwright / "cli.js"),
        "test",
        *(f"^{re.escape(str(file))}$" for file in files),
        *("--config", tools.config, "--project", tools.project, "--workers", "1", "--retries", "0"),
        *("--max-failures", "0", "--global-timeout", "0"),
        *("--reporter", str(JS / "reporter.cjs"), "--output", str(output)),
    ]


def environment(inherited: Mapping[str, str], plan: Path, *, fast: bool) -> dict[str, str]:
    """The variables that make AppWright use what the agent has; the preload only where it is known to fit."""
    path = inherited.get("PATH", "")
    env = {PLAN_VARIABLE: str(plan), PATH_VARIABLE: path, "PATH": f"{JS / 'shims'}:{path}"}
    if fast:
        preload = str(JS / "preload.cjs").replace("\\", "\\\\").replace('"', '\\"')
        env["NODE_OPTIONS"] = f'{inherited.get("NODE_OPTIONS", "")} --require "{preload}"'.strip()
    return env
