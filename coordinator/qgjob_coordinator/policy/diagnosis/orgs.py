"""Orgs whose data can't be used."""

from __future__ import annotations

from collections.abc import Sequence

from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.policy.diagnosis.facts import Damaged
from qgjob_coordinator.policy.diagnosis.words import fine, problem, told
from qgjob_coordinator.policy.reasons.words import span

CHECK = "orgs.data"
_FIND = "find the record by `org_damaged` in this coordinator's log, and mend or remove it"
_FIND_JOBS = "mend these jobs, or take them out with tools/take_out.lua,"


def judge(damaged: Sequence[Damaged]) -> list[Finding]:
    """One for each that this coordinator has set aside."""
    return told([_aside(org) for org in damaged]) or [fine(CHECK, "this coordinator can use the data of all orgs")]


def _aside(org: Damaged) -> Finding:
    parts = ", ".join(org.parts)
    jobs = f"; jobs that can't be used: {', '.join(org.jobs)}" if org.jobs else ""
    return problem(
        CHECK,
        f"the data of org {org.org_id} can't be used by {parts}, for {span(org.seconds)}: {org.error}{jobs}",
        f"{_FIND_JOBS if org.jobs else _FIND} as docs/operations.md says; the org is served again within a minute",
        org.org_id,
    )
