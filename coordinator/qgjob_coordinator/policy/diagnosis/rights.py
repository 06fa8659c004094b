"""Whether the store lets a coordinator do all that it has to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.policy.diagnosis.words import fine, problem, warning

TO_DO = "grant them: ACL SETUSER USER and these rules; the whole line is in docs/operations.md, under The store"
HINTS_TO_DO = "ACL SETUSER USER &qg:* +publish +subscribe"
_CHECK = "store.rights"


def judge(lacking: Mapping[str, Sequence[str]], hints_refused: Mapping[str, str]) -> list[Finding]:
    """By server, the rules that its user lacks; and what it lacks for `sending` and `hearing` hints."""
    found = [
        problem(_CHECK, f"its user lacks {' '.join(rules)}", TO_DO, at if len(lacking) > 1 else None)
        for at, rules in lacking.items()
        if rules
    ]
    if hints_refused:
        ways = ", ".join(f"{way}: {rules}" for way, rules in sorted(hints_refused.items()))
        what = "coordinators do not wake each other, since its user lacks rights for hints"
        found.append(warning(_CHECK, f"{what} ({ways}): waits are longer, nothing is lost", HINTS_TO_DO))
    return found or [fine(_CHECK, "its user may do all that a coordinator needs")]
