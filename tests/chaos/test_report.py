"""What a run says of itself: the story of a violation, and the figures."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.chaos.checker import check
from tests.chaos.histories import done, sound
from tests.chaos.history import MACHINE, Outage, Span
from tests.chaos.report import Report
from tests.chaos.schedule import Form, Kind
from tests.chaos.story import story
from tests.chaos.test_rules_places import two_trees
from tests.chaos.test_rules_times import late_recovery, never_watched
from tests.chaos.whole import Whole


def test_a_story_has_job_device_and_faults_in_the_order_of_time() -> None:
    history = sound()
    two_trees(history)
    (violation,) = check(history)
    lines = story(history, violation).splitlines()
    assert "while another test lived there" in lines[0]
    times = [float(line.split()[0]) for line in lines[1:]]
    assert times == sorted(times)
    said = "\n".join(lines)
    assert "globex~02#1 began on cmd-1-1, and something lived there" in said
    assert "acme~01#2 ended with 0" in said
    assert "agent_gone of cmd-2" in said


def test_a_report_counts_faults_jobs_and_recoveries_and_says_how_to_repeat_it() -> None:
    history = sound()
    late_recovery(history)
    history.outages.append(Outage(MACHINE, Span(20.0, 20.5)))
    history.done += [
        replace(done(Kind.SLOW_WATCHER, "coordinator-0", 20.0, 30.0), grown_mib=mib) for mib in (3.1, 12.48, None)
    ]
    report = Report(history, check(history), {"spool_full": "needs root"}, 2.0)
    figures = report.figures()
    assert (figures["seed"], figures["store"], figures["faults"], figures["jobs"]) == (1, "one", 4, 2)
    assert figures["slow_watcher_mib_max"] == 12.5
    assert figures["command"] == "python -m tests.chaos --seed 1 --stores one --minutes 2 --scale 0.1"
    assert (figures["attempts"], figures["attempts_lost"], figures["seconds_without_machine"]) == (3, 1, 0.5)
    assert replace(report, rests=0.5).command() == f"{report.command()} --rests 0.5"
    assert figures["refused"] == {"conflict": 1}
    (row,) = figures["recoveries"]
    assert (row["after"], row["count"], row["max_seconds"], row["bound_seconds"]) == ("agent_gone", 1, 3.6, 1.5)
    assert row["judged"] == 1
    (violation,) = figures["violations"]
    assert violation["rule"] == "recoveries_keep_their_bounds"
    assert json.loads(json.dumps(figures)) == figures
    text = report.text()
    assert "4 faults, 2 jobs, 3 attempts (1 lost)" in text
    assert "left out   spool_full: needs root" in text
    assert text.endswith("1 violations")
    assert Report(sound(), [], {}, 2.0).text().endswith("every promise was kept")


def test_a_report_says_how_many_recoveries_were_judged() -> None:
    history = sound()
    never_watched(history)
    rows = {row["what"]: row for row in Report(history, [], {}, 2.0).figures()["recoveries"]}
    assert [(row["count"], row["judged"]) for row in rows.values()] == [(1, 1), (1, 0)]
    assert rows["what it held is free for others"]["judged"] == 0
    line = next(line for line in Report(history, [], {}, 2.0).text().splitlines() if "is free for others" in line)
    assert line.split("for others")[1].split()[:2] == ["1", "0"]


def test_a_whole_sums_its_runs_and_lives_by_the_worst_of_them() -> None:
    bad = sound()
    late_recovery(bad)
    whole = Whole(1, {"commit": "abc"}, [Report(sound(), [], {}, 2.0), Report(bad, check(bad), {}, 1.0, Form.CLUSTER)])
    figures = whole.figures()
    assert (figures["commit"], figures["jobs"], figures["violations"]) == ("abc", 4, 1)
    assert [run["store"] for run in figures["runs"]] == ["one", "cluster"]
    assert json.loads(json.dumps(figures)) == figures
    assert not whole.kept
    found, _, sums = whole.text().partition("in all: ")
    assert found.startswith("cluster: 1 x ")
    assert found.endswith("[recoveries_keep_their_bounds]\n")
    assert sums.endswith("1 violations")

    whole.reports.pop()
    assert whole.kept
    seen = {"id": "claim: the fence", "caught_by": ["tests/test_claim.py::test_it"], "caught": True}
    whole.mutants = {"mutants": [seen], "red": []}
    assert whole.kept
    assert "1 mutants, all caught" in whole.text()
    whole.mutants["mutants"].append({"id": "finish: the token", "caught_by": [], "caught": False})
    assert not whole.kept
    assert "not caught: finish: the token" in whole.text()
    assert whole.figures()["mutants"][1] == {"id": "finish: the token", "caught_by": []}
