"""The limits of docs/contract.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qgjob.cli.submission import MAX_TEST_PATH_BYTES
from qgjob_agent.runners import command_result
from qgjob_coordinator.packages import suite_archive
from qgjob_coordinator.rpc import agent_wire
from qgjob_coordinator.service import validation
from qgjob_coordinator.service.agents import showing
from qgjob_coordinator.service.calls import jobs, keeping_runs, operating, submission, submitting, suites, tailing
from qgjob_coordinator.service.views import pages

CONTRACT = (Path(__file__).parents[3] / "docs" / "contract.md").read_text(encoding="utf-8")
SECTION = CONTRACT.partition("\n## Limits\n")[2].partition("\n## ")[0]
ROWS = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", SECTION, re.MULTILINE))
DAY_MS = 86_400_000

LIMITS: dict[str, list[int]] = {
    "`jobs` of one `SubmitJobs`": [1, submitting.MAX_JOBS],
    "`page_size`": [1, pages.MOST],
    "`idempotency_key`, `supersede`": [1, submission.MAX_KEY],
    "`reason` of a cancel or a hold": [validation.MAX_TEXT],
    "`max_retries`": [0, submission.MAX_RETRIES],
    "`after_seconds` of `cancel_on_disconnect`": [1, keeping_runs.MAX_AFTER_SECONDS],
    "`timeout_seconds`": [1, submission.MAX_TIMEOUT_SECONDS],
    "`queue_timeout_seconds`, `overflow_after_seconds`": [1, submission.MAX_QUEUE_TIMEOUT_SECONDS],
    "`not_before`, and `until` of a hold": [submission.MAX_NOT_BEFORE_MS // DAY_MS],
    "`round`, and `attempt` of `TailLogs`": [1, jobs.MAX_ROUND],
    "`labels`, `requirements.labels`, `env`": [validation.MAX_PAIRS, validation.MAX_PAIRS_BYTES],
    "value of a label": [validation.MAX_VALUE],
    "value of `env`": [validation.MAX_ENV_VALUE],
    "`os_version`, `device_model` of requirements, `os_version` and `model` of a device": [1, validation.MAX_VERSION],
    "files of a suite": [suite_archive.MAX_FILES],
    "folders of a suite": [suite_archive.MAX_FOLDERS],
    "path of a file of a suite": [suite_archive.MAX_PATH_BYTES],
    "name of a file or folder of a suite": [suite_archive.MAX_NAME_BYTES],
    "name of a suite": [1, suites.MAX_NAME],
    "devices of an agent": [showing.MAX_DEVICES],
    "`udid` of a device, `host`, `version` and `instance_id` of an agent": [showing.MAX_NAME],
    "`passed`, `failed` and `skipped` of a result": [0, agent_wire.MAX_COUNT],
    "`epoch` of an agent": [1, validation.MAX_EXACT],
}


@pytest.mark.parametrize("value", LIMITS)
def test_a_limit_is_as_it_is_written(value: str) -> None:
    numbers = re.findall(r"\d[\d,]*", ROWS[value])
    assert [int(n.replace(",", "")) for n in numbers] == LIMITS[value]


def test_every_limit_that_is_written_is_held_to_the_code() -> None:
    assert set(ROWS) - {"value", "---"} == set(LIMITS)
    assert agent_wire.MAX_COUNT == command_result.HIGHEST_COUNT
    assert validation.MAX_PATH_BYTES == MAX_TEST_PATH_BYTES
    assert submission.MAX_NOT_BEFORE_MS == operating.MAX_HOLD_MS
    assert (tailing.MAX_ATTEMPT, validation.MAX_MODEL) == (jobs.MAX_ROUND, validation.MAX_VERSION)
