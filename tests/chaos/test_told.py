"""Violations as a report tells them, so that it can be committed as it was written."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import pytest

from bench.processes import ROOT
from tests.chaos.checker import check
from tests.chaos.histories import sound
from tests.chaos.history import Trouble
from tests.chaos.report import Report
from tests.chaos.told import told, without_folders
from tests.chaos.violations import Violation
from tests.chaos.whole import Whole

LATEST = ROOT / "docs" / "reliability" / "latest.json"
FILE = "coordinator/qgjob_coordinator/rpc/interceptor.py"
SITE = f"{sys.prefix}/lib/python3.11/site-packages"


def traceback(address: str) -> str:
    return (
        f'Traceback (most recent call last):\n  File "{ROOT}/{FILE}", line 222, in _write\n'
        f'  File "{SITE}/grpc/aio/_call.py", line 1, in x\nExecuteBatchError: <SendMessage object at {address}>'
    )


def of_many_tracebacks() -> Report:
    history = sound()
    history.troubles = [Trouble("coordinator-0", 20.0 + i, traceback(hex(2**40 + i))) for i in range(2500)]
    history.troubles.append(Trouble("coordinator-1", 30.0, traceback("0x7f")))
    return Report(history, check(history), {}, 2.0)


def test_what_came_often_is_told_once_with_how_often() -> None:
    report = of_many_tracebacks()
    first, other = report.figures()["violations"]
    assert (first["times"], first["rule"], first["at"]) == (2500, "programs_do_not_fail_by_themselves", 20.0)
    assert (other["times"], other["at"]) == (1, 30.0)
    lines = report.text().splitlines()
    assert [line.split()[:2] for line in lines[-3:-1]] == [["2500", "x"], ["1", "x"]]
    assert lines[-1] == "2501 violations, 2 different ones"


def test_a_report_can_be_committed_as_it_is_written() -> None:
    """In one order, indented by two, with every violation counted, and without a folder of this machine."""
    text = Whole(1, {"commit": "abc"}, [of_many_tracebacks(), of_many_tracebacks()]).json()
    figures = json.loads(text)
    assert figures["violations"] == 5002
    assert (
        text == json.dumps(figures, indent=2) + "\n" == Whole(1, {"commit": "abc"}, [of_many_tracebacks()] * 2).json()
    )
    assert f'File \\"{FILE}\\"' in text
    assert 'File \\"grpc/aio/_call.py\\"' in text
    assert all(folder not in text for folder in (str(ROOT), sys.prefix, str(Path.home())))


def test_violations_of_two_jobs_or_rules_are_two() -> None:
    one = Violation("a", "P1: it is gone", "acme~01", at=1.0)
    others = [Violation("b", one.text, one.job_id), Violation("a", one.text, "acme~02"), Violation("a", one.text)]
    found = told([one, *others, Violation("a", one.text, "acme~01", at=2.0)])
    assert [each.times for each in found] == [2, 1, 1, 1]
    assert found[0].violation is not one
    assert found[0].violation == one


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f'File "{ROOT}/{FILE}", line 1', f'File "{FILE}", line 1'),
        (f'File "{SITE}/redis/client.py"', 'File "redis/client.py"'),
        ('File "/usr/lib/python3.11/asyncio/tasks.py"', 'File "python3.11/asyncio/tasks.py"'),
        ('File "/opt/x_y/../python/lib/python3.12/site-packages/a/b.py"', 'File "a/b.py"'),
        ('File "/anywhere/of/mine/b.py", line 2', 'File "b.py", line 2'),
        (f"{tempfile.gettempdir()}/qgjob-chaos-x1_/lab/store/a.aof is cut", "lab/store/a.aof is cut"),
        ("no room in '/home/somebody/state/spool'", "no room in 'spool'"),
        ("servicer method [/qgjob.v1.JobService/WatchJobs]", "servicer method [/qgjob.v1.JobService/WatchJobs]"),
        ("http://127.0.0.1:80/work/x and proto/usr/x", "http://127.0.0.1:80/work/x and proto/usr/x"),
    ],
)
def test_a_text_names_no_folder_of_this_machine(text: str, left: str) -> None:
    assert without_folders(text) == left


def test_the_last_full_report_is_as_it_was_written() -> None:
    text = LATEST.read_text()
    figures = json.loads(text)
    assert text == json.dumps(figures, indent=2) + "\n"
    assert without_folders(text) == text
    counted = [v.get("times", 1) for run in figures["runs"] for v in run["violations"]]
    assert figures["violations"] == sum(counted)
