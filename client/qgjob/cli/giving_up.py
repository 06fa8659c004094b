"""What a waiting command says when it gives up: that the jobs go on, or what ends them, and how to resume."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob._errors import NotFoundError, QgjobError, UnavailableError
from qgjob.cli.bonds import bound

if TYPE_CHECKING:
    from collections.abc import Collection

    from qgjob.cli.verdicts import Goal


def given_up(error: QgjobError, goal: Goal, known: Collection[str]) -> str | None:
    """The line before an error that ends a wait of which these jobs are `known`; None where it is no use to resume."""
    if isinstance(error, NotFoundError) or not (known or isinstance(error, UnavailableError)):
        return None
    if goal.run is not None and goal.bond is not None:
        return f"the wait is given up; {bound(error, goal.run[1], goal.bond)}. To see what becomes of it: {goal.resume}"
    state = "the jobs go on" if known else "nothing is known of the jobs"
    return f"the wait is given up; {state}. To resume: {goal.resume}"
