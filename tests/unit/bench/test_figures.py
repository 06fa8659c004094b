from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import report, requests
from bench.figures import merged, p50_p99, percentile, with_ratios
from bench.targets import TARGETS, Target

ROUND = {
    "end_to_end_jobs_per_s": 12_000.0,
    "end_to_end_fsync_always_jobs_per_s": 9_000.0,
    "submit_jobs_500_per_s": {"one_in_flight": 30_000.0, "four_in_flight": 40_000.0},
    "client_submit_200_per_s": 10_000.0,
    "submit_to_start_ms": {"p50": 2.0, "p99": 4.0},
    "echo_plus_two_redis_hops_ms": {"p50": 0.8, "p99": 1.5},
    "bullmq": {"version": "1.2.3", "live_jobs_per_s": 8_000.0, "add_bulk_per_s": 20_000.0, "add_200_per_s": 20_000.0},
}


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 2), (51, 3), (99, 4), (100, 4)])
def test_a_percentile_is_a_value_that_was_measured(percent: float, expected: float) -> None:
    assert percentile([4, 1, 3, 2], percent) == expected


def test_one_slow_call_in_a_hundred_is_not_the_99th_percentile() -> None:
    assert p50_p99([1.0] * 99 + [50.0]) == {"p50": 1.0, "p99": 1.0}


def test_ratios_are_ours_divided_by_theirs() -> None:
    ratios = with_ratios(ROUND)["ratios"]
    assert ratios == {
        "end_to_end_to_bullmq_live": 1.5,
        "submit_jobs_to_add_bulk": {"one_in_flight": 1.5, "four_in_flight": 2.0},
        "client_submit_to_add_200": 0.5,
        "submit_to_start_to_floor_p50": 2.5,
    }


def test_the_price_of_fsync_is_a_share_of_the_rate() -> None:
    assert with_ratios(ROUND)["end_to_end_fsync_always_loss_percent"] == 25.0


def test_without_the_peer_there_are_no_ratios_to_it() -> None:
    alone = {**ROUND, "bullmq": {"skipped": "node not found on PATH"}}
    ratios = with_ratios(alone)["ratios"]
    assert isinstance(ratios, dict)
    assert ratios["end_to_end_to_bullmq_live"] is None
    assert ratios["submit_to_start_to_floor_p50"] == 2.5


def test_rounds_merge_to_medians_leaf_by_leaf() -> None:
    rounds = [{"a": {"x": 1.0}, "v": "old"}, {"a": {"x": 9.0}, "v": "new"}, {"a": {"x": 3.0}, "b": 7.0, "c": None}]
    assert merged(rounds) == {"a": {"x": 3.0}, "v": "new", "b": 7.0, "c": None}


def test_every_target_speaks_of_a_figure_with_a_name_and_an_unmeasured_one_has_no_verdict() -> None:
    assert [t.met({}) for t in TARGETS] == [None] * len(TARGETS)


def test_a_target_may_be_a_multiple_of_another_figure() -> None:
    target = Target("submit_to_start_ms.p50", "<=", 2, per="echo_plus_two_redis_hops_ms.p50")
    assert target.met(ROUND) is False
    assert target.met({**ROUND, "submit_to_start_ms": {"p50": 1.6}}) is True


def test_the_table_shows_values_spread_and_what_is_missed() -> None:
    rounds = [with_ratios(ROUND), with_ratios({**ROUND, "client_submit_200_per_s": 14_000.0})]
    lines = {line.split()[0]: line.split() for line in report.table(merged(rounds), rounds).splitlines()}
    assert lines["client_submit_200_per_s"] == ["client_submit_200_per_s", "12,000", "10,000", "14,000"]
    assert lines["ratios.client_submit_to_add_200"][-3:] == [">=", "0.7", "MISSED"]
    assert lines["ratios.end_to_end_to_bullmq_live"][-3:] == [">=", "1.3", "ok"]


def test_the_file_holds_the_figures_in_full(tmp_path: Path) -> None:
    path = tmp_path / "out" / "figures.json"
    report.write(path, with_ratios(ROUND))
    assert json.loads(path.read_text())["submit_jobs_500_per_s"]["one_in_flight"] == 30_000.0


def test_paths_have_80_characters_and_are_all_different() -> None:
    paths = {requests.test_path(number) for number in (0, 1, 49, 50, 999_999)}
    assert {len(path) for path in paths} == {80}
    assert len(paths) == 5
