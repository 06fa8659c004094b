"""Judges a history: a pure function to the list of broken promises, empty for a sound run.

Each rule is a function that is named by what it demands. It knows nothing of how the run was made: a history may as
well be written by hand (the tests beside it do that, for each rule).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tests.chaos import (
    rules_asked,
    rules_cancels,
    rules_causes,
    rules_evidence,
    rules_grants,
    rules_health,
    rules_jobs,
    rules_places,
    rules_refusals,
    rules_runs,
    rules_sessions,
    rules_times,
    rules_wishes,
)
from tests.chaos.history import History
from tests.chaos.violations import Violation

Rule = Callable[[History], Iterable[Violation]]

RULES: tuple[Rule, ...] = (
    rules_jobs.acknowledged_jobs_have_one_verdict_a_round,
    rules_jobs.moves_are_legal,
    rules_grants.the_last_grant_decides,
    rules_grants.reports_carry_the_last_token,
    rules_sessions.an_old_session_is_shut_out,
    rules_jobs.a_verdict_is_what_the_test_did,
    rules_causes.a_verdict_has_a_cause,
    rules_asked.an_acknowledged_cancel_is_a_verdict,
    rules_asked.an_acknowledged_retry_is_a_round,
    rules_refusals.a_refusal_has_a_cause,
    rules_cancels.a_cancel_was_asked_for,
    rules_wishes.a_superseded_run_ends,
    rules_wishes.a_bond_ends_with_its_client,
    rules_wishes.a_held_device_starts_nothing,
    rules_wishes.a_deadline_is_kept,
    rules_health.a_broken_device_is_taken_out,
    rules_health.a_quarantined_device_starts_nothing,
    rules_health.a_quarantined_device_comes_back,
    rules_health.a_device_in_order_stays_in_service,
    rules_runs.an_attempt_runs_once,
    rules_runs.a_job_runs_in_one_place,
    rules_runs.a_run_has_its_record,
    rules_places.devices_run_one_at_a_time,
    rules_places.nothing_crosses_an_org,
    rules_places.losses_have_causes,
    rules_places.programs_do_not_fail_by_themselves,
    rules_places.the_store_is_sound,
    rules_times.recoveries_keep_their_bounds,
    rules_times.a_long_run_judges_what_silent_agents_held,
    rules_evidence.a_long_run_shows_each_bound,
    rules_evidence.a_bound_is_kept_without_the_allowance,
    rules_times.what_a_partition_held_back_is_told,
    rules_times.cancelled_trees_die_in_time,
)


def check(history: History) -> list[Violation]:
    """Everything that is wrong, rule by rule."""
    history.forget()
    return [violation for rule in RULES for violation in rule(history)]
