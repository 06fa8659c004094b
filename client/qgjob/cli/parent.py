"""Whether the process that a program belongs to is still there.

Coordinator, agent and CLI have each a copy of this module, since they share no code; a test holds them equal.
"""

from __future__ import annotations

import asyncio
import os

POLL_SECONDS = 1.0


async def until_gone(pid: int) -> None:
    """Returns when the process has ended.

    One that was killed may stay a zombie for long, which looks alive to all but its children: they are given another
    parent.
    """
    is_ours = os.getppid() == pid
    while os.getppid() == pid if is_ours else _exists(pid):  # noqa: ASYNC110 - nobody tells of another one's end
        await asyncio.sleep(POLL_SECONDS)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    return True
