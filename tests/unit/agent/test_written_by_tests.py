"""What a test writes in place of the agent's own records ends no agent: neither this one nor the next."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_agent import execution_dir as names
from qgjob_agent.executions import Execution
from tests.fakes.agent_core import assignment

NESTED = "[" * 60_000


@pytest.fixture
def execution(tmp_path: Path) -> Execution:
    return Execution.new(tmp_path, assignment("t1"))


@pytest.mark.parametrize("text", [NESTED, "no JSON", "[]", '{"attempt": "1"}', "{}", '{"attempt": true}'])
def test_a_call_to_look_that_no_supervisor_writes_is_none(execution: Execution, text: str) -> None:
    (execution.path / names.OVERDUE).write_text(text)
    assert execution.overdue() is None
