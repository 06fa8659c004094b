"""What a store that went back may have forgotten of what it had acknowledged, and what it can't have. Pure.

What is gone is what some server took. Where that was another one than the master, what the witness saw at the master of
that time is there, and is judged.
"""

from __future__ import annotations

from tests.chaos.history import History, Span

CUT_MARGIN_SECONDS = 0.1
"""Around the time to which a store went back."""


def taken_back(h: History, at: float) -> bool:
    """Whether what was acknowledged then may be gone, of whatever server it was."""
    return any(cut.back_to - CUT_MARGIN_SECONDS <= at <= cut.at + CUT_MARGIN_SECONDS for cut in h.cuts)


def taken_from_master(h: History, at: float) -> bool:
    """Whether also what the master of that time had acknowledged then may be gone."""
    return any(
        cut.back_to - CUT_MARGIN_SECONDS <= at <= cut.at + CUT_MARGIN_SECONDS for cut in h.cuts if not cut.by_another
    )


def forgotten(h: History, at: float) -> bool:
    """Whether what the master was seen to do then did not happen for the store that came back."""
    return any(cut.back_to - CUT_MARGIN_SECONDS <= at <= cut.at for cut in h.cuts if not cut.by_another)


def master_took(h: History, job_id: str, within: Span, letters: str) -> bool:
    """Whether the master was seen to make the job one of these, and the store that came back has that."""
    return any(
        w.job_id == job_id and w.letter in letters and within.begin <= w.at <= within.end and not forgotten(h, w.at)
        for w in h.writes
    )
