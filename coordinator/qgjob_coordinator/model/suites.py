"""Suites: test projects, named by their content."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite that an org has. `digest` is the SHA-256 of its archive in lower-case hexadecimal, `pushed_at` in ms."""

    org_id: str
    digest: str
    size_bytes: int
    file_count: int
    name: str
    pushed_at: int
