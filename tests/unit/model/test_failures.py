"""Whose budget a failed attempt uses up."""

from __future__ import annotations

import pytest

from qgjob_coordinator.model.enums import Charge, ErrorClass, Outcome
from qgjob_coordinator.model.failures import charge_of, error_class_of

TEST = (Outcome.TEST_FAILED, Outcome.TIMED_OUT, Outcome.APP_CRASHED)
INFRASTRUCTURE = (Outcome.DEVICE_ERROR, Outcome.AGENT_LOST, Outcome.PROVIDER_ERROR)
NO_FAILURE = sorted(set(Outcome) - {*TEST, *INFRASTRUCTURE})


@pytest.mark.parametrize("outcome", TEST)
def test_test_class_failures_use_up_the_jobs_own_retries(outcome: Outcome) -> None:
    assert charge_of(outcome) is Charge.TEST
    assert error_class_of(charge_of(outcome)) is ErrorClass.TEST


@pytest.mark.parametrize("outcome", INFRASTRUCTURE)
def test_infrastructure_class_failures_use_up_their_own_budget(outcome: Outcome) -> None:
    assert charge_of(outcome) is Charge.INFRASTRUCTURE
    assert error_class_of(charge_of(outcome)) is ErrorClass.INFRASTRUCTURE


@pytest.mark.parametrize("outcome", NO_FAILURE)
def test_what_is_no_failure_of_an_attempt_has_no_charge(outcome: Outcome) -> None:
    with pytest.raises(KeyError):
        charge_of(outcome)


def test_what_cannot_be_resolved_is_final_whatever_the_outcome() -> None:
    assert charge_of(Outcome.DEVICE_ERROR, unresolvable=True) is Charge.FINAL
    assert error_class_of(Charge.FINAL) is ErrorClass.BUILD
