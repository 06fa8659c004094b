"""What stands in the store for longer texts: groups, requirements, keys, and the digests by which jobs are equal."""

from __future__ import annotations

import json
from binascii import b2a_base64
from dataclasses import replace
from functools import lru_cache
from hashlib import blake2b

from qgjob_coordinator.model.enums import Target
from qgjob_coordinator.model.jobs import ANY_DEVICE, JobSpec, Pairs, Requirements

PATH = 12
"""Characters of a content hash that are a digest of the test's path; by them the store knows its duration."""
FINGERPRINT = 8 + PATH
"""Characters of a content hash that equal jobs share: a digest of all but the path, then that of the path."""

TARGET_LETTER = {Target.EMULATOR: "e", Target.DEVICE: "d", Target.BROWSERSTACK: "b"}
LETTER_TARGET = {letter: target for target, letter in TARGET_LETTER.items()}


_URL_SAFE = str.maketrans("+/", "-_")
_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode


def dumps(value: object) -> str:
    """Compact JSON on one line."""
    return _dumps(value)


def _digest(text: str, size: int) -> str:
    return b2a_base64(blake2b(text.encode(), digest_size=size).digest(), newline=False).decode().translate(_URL_SAFE)


def path_digest(path: str) -> str:
    """What stands for a test's path in a content hash, and names it among the durations of an org."""
    return b2a_base64(blake2b(path.encode(), digest_size=PATH * 3 // 4).digest(), newline=False).decode()


@lru_cache(maxsize=65536)
def group_id(app_version_id: str, target: Target) -> str:
    """The gid: the target's letter, then a digest of the app version."""
    return TARGET_LETTER[target] + _digest(app_version_id, 9)


@lru_cache(maxsize=65536)
def signature(requirements: Requirements) -> str:
    """Canonical text of requirements; empty when any device of the target will do."""
    if requirements == ANY_DEVICE:
        return ""
    r = requirements
    fields = {"p": r.platform, "o": r.os_version, "m": r.device_model, "d": r.device_id, "l": dict(r.labels) or None}
    return dumps({k: v for k, v in fields.items() if v is not None})


@lru_cache(maxsize=65536)
def parse_signature(text: str) -> tuple[Requirements, tuple[str, ...]]:
    """Requirements, and the devices that a retry is to avoid. Raises ValueError for what `signature` can't have made.

    What is made of the queues of all orgs is not made org by org, so no requirements go there that can't be compared.
    """
    end = text.rfind("}") + 1
    base, avoid = text[:end], text[end:].lstrip("!")
    requirements = ANY_DEVICE
    if base:
        d = json.loads(base)
        kept = d.get("l", {})
        if not isinstance(kept, dict):
            raise ValueError(f"requirements {base}: l is no object of labels; mend the text, or remove it")
        labels: Pairs = tuple(sorted(kept.items()))
        texts = [("l", value) for _, value in labels] + [(key, d[key]) for key in "pomd" if d.get(key) is not None]
        wrong = [f"{dumps(value)} of {key}" for key, value in texts if not isinstance(value, str)]
        if wrong:
            raise ValueError(f"requirements {base}: {wrong[0]} is no text; mend it, or remove it")
        requirements = Requirements(d.get("p"), d.get("o"), d.get("m"), d.get("d"), labels)
    return requirements, tuple(avoid.split(",")) if avoid else ()


def digest_key(idempotency_key: str) -> str:
    """An idempotency key as a key part: any text becomes 24 characters."""
    return _digest(idempotency_key, 18)


def content_hash(spec: JobSpec, sig: str) -> str:
    """Equal for a repeated submission of the same job, also when the coordinator's defaults changed in between.

    Its first FINGERPRINT characters are equal for jobs that are equal (app version, path, targets, requirements,
    environment and suite; the org is the key's).
    """
    env = dumps(dict(spec.env)) if spec.env else ""
    labels = dumps(dict(spec.labels)) if spec.labels else ""
    second = spec.overflow
    alike = _digest_of_alike(
        spec.app_version_id, spec.target, sig, env, spec.suite_digest, None if second is None else second.target
    )
    rest = _digest_of_rest(
        spec.priority if spec.own_priority else None,
        spec.max_retries if spec.own_max_retries else None,
        spec.run_id,
        spec.idempotency_key,
        spec.not_before,
        spec.timeout_ms,
        spec.queue_timeout_ms,
        spec.no_dedup,
        labels,
        *(() if second is None else (second.after_ms,)),
    )
    return alike + path_digest(spec.test_path) + rest


def keyed_hash(spec: JobSpec, sig: str) -> str:
    """Equal for submissions that may share an idempotency key: all but run and labels is the same."""
    return content_hash(replace(spec, run_id=None, labels={}, idempotency_key=None), sig)


@lru_cache(maxsize=4096)
def _digest_of_alike(
    app_version_id: str, target: Target, sig: str, env: str, suite: str | None, second: Target | None
) -> str:
    # Without a suite or a second target as before there were any: jobs that wait in the store are equal to what is
    # submitted now.
    parts = [app_version_id, target.value, sig, env]
    if suite is not None:
        parts.append(suite)
    if second is not None:
        parts.append(f"or {second.value}")
    return _digest("\x1f".join(parts), 6)


@lru_cache(maxsize=4096)
def _digest_of_rest(*values: object) -> str:
    return _digest("\x1f".join(map(repr, values)), 6)
