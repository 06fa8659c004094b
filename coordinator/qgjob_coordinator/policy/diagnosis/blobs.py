"""Whether the blob store answers, and whether the builds that the store names have their bytes."""

from __future__ import annotations

from qgjob_coordinator.model.findings import Finding
from qgjob_coordinator.policy.diagnosis.facts import BlobFacts
from qgjob_coordinator.policy.diagnosis.words import count, fine, names, note, problem, told

_BACK = "builds can't be pushed or fetched until it is back: mend BLOB_URL, its credentials, the way there or its disk"


def judge(facts: BlobFacts, url: str) -> list[Finding]:
    """Of the blob store at `url`."""
    if facts.away is not None:
        return [problem("blobs.usable", f"{url}: {facts.away}", _BACK)]
    return [fine("blobs.usable", f"{url} answers"), *told(_builds(facts))]


def _builds(facts: BlobFacts) -> list[Finding]:
    check = "blobs.builds"
    by_org: dict[str, list[str]] = {}
    for each in facts.missing:
        by_org.setdefault(each.org_id, []).append(f"{each.app_version_id} ({each.slot})")
    advice = "push them again (qgjob builds push FILE --org-id={} --app-version-id=VERSION), or restore the blob store"
    found = [
        problem(check, f"of {count(len(gone), 'build')} the bytes are gone: {names(gone)}", advice.format(org), org)
        for org, gone in sorted(by_org.items())
    ]
    if not facts.whole:
        found.append(note(check, f"{count(facts.builds, 'build')} could be looked at in time, others not", "ask again"))
    all_there = f"all bytes of {count(facts.builds, 'build')} are there" if facts.builds else "no build was pushed"
    return found or [fine(check, all_there)]
