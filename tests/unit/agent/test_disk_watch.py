"""The look at the disk: whether the state directory is the one that the agent holds, and what is free there."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog

from qgjob_agent.core.events import DiskMeasured, StateDirSeen
from qgjob_agent.disk_watch import DiskWatch
from qgjob_agent.state_dir import StateDir

if TYPE_CHECKING:
    from collections.abc import Iterator


class Looking:
    """A watch of a state directory, and what it has told since it was asked."""

    def __init__(self, path: Path) -> None:
        self.held = StateDir.open(path)
        self._told: list[DiskMeasured | StateDirSeen] = []
        self._watch = DiskWatch(self.held, self._told.append, structlog.get_logger())

    def look(self) -> list[str | None]:
        """Why the directory is gone, of each time that this was told; that it is measured is told where it is there."""
        self._told.clear()
        self._watch.look()
        return [x.gone for x in self._told if isinstance(x, StateDirSeen)]

    @property
    def measured(self) -> bool:
        """Whether the last look said what is free."""
        return any(isinstance(x, DiskMeasured) for x in self._told)


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    made = Looking(tmp_path / "state")
    yield made
    made.held.close()


def test_a_directory_that_is_there_is_measured_and_nothing_else_is_said(looking: Looking) -> None:
    assert (looking.look(), looking.measured) == ([], True)


def test_one_that_was_removed_is_said_once(looking: Looking) -> None:
    shutil.rmtree(looking.held.path)
    assert (looking.look(), looking.measured) == ([f"{looking.held.path} was removed"], False)
    assert (looking.look(), looking.measured) == ([], False)


def test_a_new_one_in_its_place_is_another_one(looking: Looking) -> None:
    """Its lock is another one too, so that another agent may hold it."""
    shutil.rmtree(looking.held.path)
    other = StateDir.open(looking.held.path)
    assert looking.look() == [f"{looking.held.path} was removed, and another one is in its place"]
    other.close()


def test_one_that_comes_back_is_well(looking: Looking) -> None:
    """As when the disk was mounted anew."""
    aside = looking.held.path.with_name("aside")
    looking.held.path.rename(aside)
    assert looking.look() == [f"{looking.held.path} was removed"]
    aside.rename(looking.held.path)
    assert (looking.look(), looking.measured) == ([None], True)


def test_one_that_can_not_be_looked_at_may_be_there(looking: Looking) -> None:
    """Its folder is a loop of links: root too is told nothing of what lies in it."""
    folder = looking.held.path.parent
    aside = folder.with_name("aside")
    folder.rename(aside)
    folder.symlink_to(folder)
    assert looking.look() == []
    folder.unlink()
    aside.rename(folder)
    assert looking.look() == []
