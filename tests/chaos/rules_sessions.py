"""Rules about sessions: a newer one of an agent shuts out those before it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.cuts import forgotten
from tests.chaos.history import History
from tests.chaos.violations import Violation


def an_old_session_is_shut_out(h: History) -> Iterator[Violation]:
    """P3: when a session of an agent was opened, no older one is, nor it again; when it was given a job of an org, no
    older one is given one. Of what the witness saw.

    What a coordinator asks of a store that it does not reach is carried out when nobody waits for it any more.
    """
    known = [
        *((o.at, "was opened", (o.agent_id, ""), o.epoch, 1, None) for o in h.opened),
        *(
            (w.at, f"was given {w.job_id}", (w.agent_id, w.job_id.partition("~")[0]), w.epoch, 0, w.job_id)
            for w in h.writes
            if w.epoch is not None
        ),
    ]
    highest: dict[tuple[str | None, str], int] = {}
    for at, what, of, epoch, above, job_id in sorted(known, key=lambda each: each[0]):
        if forgotten(h, at):
            continue
        if epoch < highest.get(of, 0) + above and of in highest:
            text = f"P3: session {epoch} of {of[0]} {what} after session {highest[of]}"
            yield Violation("an_old_session_is_shut_out", text, job_id, at=at)
        highest[of] = max(epoch, highest.get(of, 0))
