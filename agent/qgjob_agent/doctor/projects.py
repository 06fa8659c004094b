"""The projects of the suite's config that the settings name for the agent's devices: whether they are there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qgjob_agent.config_checks import device_kinds
from qgjob_agent.doctor.asking import Answer, ask, beside, located
from qgjob_agent.doctor.findings import Finding, fine, problem, unused, warning
from qgjob_agent.runners.appwright.versions import SuiteError, look_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qgjob_agent.doctor.host import Host

_CHECK = "appwright.projects"
_SECONDS = 18.0
"""Playwright loads itself, AppWright and the config."""
_NO_FILE = "^no file is called so$"
_NOT_FOUND = re.compile(r"Project\(s\) (.+) not found\. Available projects: (.*)")
_ALL_FOUND = "No tests found"


async def projects(host: Host) -> list[Finding]:
    """What Playwright says of them, which is asked for the tests of no file."""
    config = host.config.appwright
    suite = config.suite_dir
    if host.config.runner != "appwright" or suite is None:
        why = f'runner is "{host.config.runner}"' if host.config.runner != "appwright" else "jobs bring their suites"
        return [unused(_CHECK, why)]
    node = located(config.node, host.config.test_environ, suite)
    try:
        playwright = (await beside(lambda: look_at(suite))).folder
    except SuiteError:
        playwright = None
    if node is None or playwright is None or not (suite / config.config).is_file():
        return [unused(_CHECK, "there is nothing that could read the suite's config yet")]
    names = list(dict.fromkeys(host.config.projects.of(*each) for each in device_kinds(host.config)))
    named = [word for name in names for word in ("--project", name)]
    argv = [node, str(playwright / "cli.js"), "test", _NO_FILE, "--list", "--config", config.config, *named]
    answer = await ask(argv, host.config.test_environ, _SECONDS, suite)
    return [judge_projects(answer, names, f"{suite / config.config}")]


def judge_projects(answer: Answer, names: Sequence[str], config: str) -> Finding:
    """Of what Playwright said where it was asked for these projects."""
    said = f"{answer.output}\n{answer.errors}"
    if (lacking := _NOT_FOUND.search(said)) is not None:
        text = f"{config} has no project {lacking[1]}; it has {lacking[2] or 'none'}"
        return problem(_CHECK, text, "mend appwright.project or [appwright.projects]: these devices can run no test so")
    if _ALL_FOUND in said or answer.code == 0:
        return fine(_CHECK, f"{config} has {', '.join(names)}")
    how = "no answer in time" if answer.code is None else answer.first_line or f"exit code {answer.code}"
    advice = "see whether the config can be read without the variables QGJOB_*, which are there for tests only"
    return warning(_CHECK, f"Playwright can't read {config}: {how}", advice)
