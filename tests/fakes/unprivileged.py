"""A test as a user to whom files can be closed: root may enter and read everything."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65_534


@contextmanager
def unprivileged() -> Iterator[None]:
    """What is done in it is done by nobody, where it would be done by root; by the same user else."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(NOBODY, NOBODY, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@contextmanager
def open_to_all() -> Iterator[Path]:
    """A folder that every user may enter and write to, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="qgjob-") as folder:
        path = Path(folder).resolve()
        path.chmod(0o777)
        yield path
