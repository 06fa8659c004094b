from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from bench.scheduling import __main__ as cli

ROOT = Path(__file__).parents[3]
SVG = "{http://www.w3.org/2000/svg}"
TRACE: dict[str, Any] = {
    "install_seconds": 45,
    "devices": [{"device_id": "e<1>", "target": "emulator"}],
    "history": [],
    "jobs": [
        {
            "at": 0,
            "org_id": "acme & sons",
            "app_version_id": "v1",
            "target": "emulator",
            "priority": priority,
            "test_path": "t.py",
            "seconds": 30,
        }
        for priority in ("high", "low")
    ],
}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(TRACE))
    return file


def test_a_trace_is_answered_with_its_report(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--trace", str(trace), "-o", "json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert list(figures) == [
        "installs",
        "makespan_seconds",
        "wait_seconds",
        "start_estimate_error",
        "bounds",
        "plan_ms",
    ]
    assert (figures["installs"], figures["makespan_seconds"]) == (1, 105.0)
    assert figures["bounds"] == {"installs": 1, "makespan_seconds": 105.0}
    assert figures["wait_seconds"]["by_priority"]["high"]["mean"] == 45.0
    assert figures["wait_seconds"]["by_org"]["acme & sons"]["count"] == 2


def test_a_trace_as_a_table(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--trace", str(trace), "--policy", "fifo"]) == 0
    out = capsys.readouterr().out
    assert "installs         1 (bound 1)" in out
    assert "org acme & sons" in out


def test_a_cap_and_a_quota_keep_devices_from_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both as settings of the coordinator; of 8 devices 2 install then, for a trace as for a workload."""
    devices = [{"device_id": f"e{n}", "target": "emulator"} for n in range(8)]
    file = tmp_path / "trace.json"
    file.write_text(json.dumps(TRACE | {"devices": devices, "jobs": TRACE["jobs"] * 100}))
    for limit in ("--group-max-devices", "--max-running-per-org"):
        assert cli.main(["--trace", str(file), "-o", "json", limit, "2"]) == 0
        assert json.loads(capsys.readouterr().out)["installs"] == 2
        workload = ["--workload", "one_group", "--seeds", "1", "--policy", "qgjob", "-o", "json"]
        assert cli.main([*workload, limit, "2"]) == 0
        assert json.loads(capsys.readouterr().out)["means"]["one_group"]["qgjob"]["installs_to_bound"] == 2


def test_several_policies_are_told_by_name(trace: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--trace", str(trace), "--policy", "strict", "sticky", "-o", "json", "--json", str(file)]
    assert cli.main(arguments) == 0
    figures = json.loads(capsys.readouterr().out)
    assert set(figures) == {"strict", "sticky"}
    assert json.loads(file.read_text()) == figures


def test_devices_over_time_are_drawn(trace: Path, tmp_path: Path) -> None:
    file = tmp_path / "gantt.svg"
    assert cli.main(["--trace", str(trace), "--gantt", str(file)]) == 0
    drawn = ET.fromstring(file.read_text())  # noqa: S314 - written a line above
    tips = [tip.text or "" for tip in drawn.iter(f"{SVG}title")]
    assert sum(tip.startswith("job ") for tip in tips) == 2
    assert "install acme & sons v1 (emulator)\n0.0 s to 45.0 s (45.0 s)" in tips
    assert "e<1>" in [text.text for text in drawn.iter(f"{SVG}text")]


def test_workloads_are_compared_over_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--workload", "one_group", "--seeds", "2", "--policy", "sticky", "strict", "--json", str(file)]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out
    assert "one_group: one group of 200 jobs at once, 8 devices" in out
    figures = json.loads(file.read_text())
    assert figures["means"]["one_group"]["strict"]["installs_to_bound"] == 1.0
    assert figures["means"]["one_group"]["sticky"]["p95_wait_to_sticky"] == 1.0
    assert figures["means"]["one_group"]["sticky"]["high_wait_to_fifo"] is None
    assert [(run["policy"], run["seed"]) for run in figures["runs"]] == [
        ("sticky", 0),
        ("sticky", 1),
        ("strict", 0),
        ("strict", 1),
    ]


def test_everything_is_written_and_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli, "TABLE", [cli.WORKLOADS["one_group"]])
    monkeypatch.setattr(cli, "JSON_FILE", tmp_path / "scheduling.json")
    monkeypatch.setattr(cli, "PLOT_FILE", tmp_path / "scheduling.svg")
    assert cli.main(["--seeds", "1"]) == 0
    row = json.loads((tmp_path / "scheduling.json").read_text())["means"]["one_group"]
    assert {"qgjob", "qgjob@2", "fifo", "priority_fifo", "strict", "sticky"} < set(row)
    plot = ET.fromstring((tmp_path / "scheduling.svg").read_text())  # noqa: S314 - written a line above
    assert any((tip.text or "").startswith("strict: installs 1.00") for tip in plot.iter(f"{SVG}title"))
    assert "qgjob@" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--workload", "busy"], "invalid choice: 'busy'"),
        (["--policy", "lifo"], "policy: 'lifo' is unknown; use one of qgjob"),
        (["--seeds", "0"], "'0' is no count; use 1 or more"),
        (["--max-running-per-org", "0"], "'0' is no count; use 1 or more"),
        (["--group-max-devices", "2", "--policy", "fifo"], "are settings of qgjob; leave out --policy fifo"),
        (["--gantt", "x.svg"], "--gantt: draws one trace; give --trace, or one --workload"),
        (["--workload", "poisson", "--gantt", "x.svg", "--policy", "fifo", "sticky"], "--gantt: draws one policy"),
        (["--trace", "x.json", "--seeds", "3"], "--trace: is one trace; leave out --workload and --seeds"),
    ],
)
def test_options_that_make_no_sense(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_figure_that_cannot_be_written(trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--trace", str(trace), "--json", str(trace.parent)]) == 2
    assert f"{trace.parent}: cannot be written (" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--gantt"])
def test_a_folder_that_is_missing_is_named_before_anything_is_simulated(
    trace: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = trace.parent / "missing"
    for folder in (missing, trace):
        assert cli.main(["--trace", str(trace), option, str(folder / "x")]) == 2
        told = f"{option}: there is no folder {folder}; make it, or give another file\n"
        assert capsys.readouterr() == ("", told)
    assert not missing.exists()


def test_the_program_answers_a_bad_trace_with_one_line(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    bad = {**TRACE, "jobs": [{**TRACE["jobs"][0], "seconds": -1}]}
    file.write_text(json.dumps(bad))
    done = subprocess.run(
        [sys.executable, "-m", "bench.scheduling", "--trace", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "jobs[0].seconds: -1 is negative; use 0 or more\n"
