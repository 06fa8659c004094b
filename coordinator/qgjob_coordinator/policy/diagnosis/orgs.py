"""Orgs whose data can't be used."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.policy.diagnosis.facts import Damaged
from qgjob_coordinator.policy.diagnosis.words import fine, problem, told
from qgjob_coordinator.policy.reasons.words import span

CHECK = "orgs.data"


def judge(damaged: Sequence[Damaged]) -> list[Finding]:
    """One for each that this coordinator has set aside."""
    return told([_aside(org) for org in damaged]) or [fine(CHECK, "this coordinator can use the data of all orgs")]


def _aside(org: Damaged) -> Finding:
    parts = ", ".join(org.parts)
    return problem(
        CHECK,
        f"the data of org {org.org_id} can't be used by {parts}, for {span(org.seconds)}: {org.error}",
        "find the record by `org_damaged` in this coordinator's log, and mend or remove it as docs/operations.md says; "
        "the org is served again within a minute",
        org.org_id,
    )
