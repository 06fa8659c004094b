"""Idempotency keys of the jobs of one command, from the key that it was given. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import blake2b

from qgjob._models import JobSpec, Requirements
from qgjob.cli.options import usage

DIGEST_BYTES = 6
MAX_LENGTH = 232
"""Of the key that is given: the coordinator takes 256 characters, and each job's own has some more."""


def with_own_keys(key: str, specs: Sequence[JobSpec]) -> Iterator[JobSpec]:
    """The specs with a key each, made of `key` and of what tells the jobs of a command apart.

    That is the test and what it asks of a device, so a job keeps its key wherever it stands among others; the second of
    several that are the same gets `.2`. Raises InvalidError naming the option.
    """
    if not key:
        raise usage("--idempotency-key", "is empty; give a value, or leave it out")
    if len(key) > MAX_LENGTH:
        raise usage("--idempotency-key", f"is {len(key)} characters long; give at most {MAX_LENGTH}")
    seen: Counter[str] = Counter()
    for spec in specs:
        own = f"{key}.{_digest(spec)}"
        seen[own] += 1
        yield replace(spec, idempotency_key=own if seen[own] == 1 else f"{own}.{seen[own]}")


def _digest(spec: JobSpec) -> str:
    needs = spec.requirements if isinstance(spec.requirements, Requirements) else Requirements()
    text = json.dumps([spec.test_path, spec.target, needs.to_dict()], sort_keys=True)
    return blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()
