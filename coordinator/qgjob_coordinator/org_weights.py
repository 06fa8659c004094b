"""The setting ORG_WEIGHTS: `acme=2,globex=0.5`."""

from __future__ import annotations

from collections.abc import Mapping

from qgjob_coordinator.service.validation import ID_RULE, is_id, shown

LEAST, MOST = 0.001, 1000.0
"""Weights beyond these would give an org no device, or all of them."""


def parse(text: str) -> Mapping[str, float]:
    """Weights by org id. Raises ValueError that names the pair that is wrong, and says what to write instead."""
    weights: dict[str, float] = {}
    for pair in (part.strip() for part in text.split(",")):
        if not pair:
            continue
        org_id, equals, number = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ValueError(f"the pair {shown(pair)} has no '='; write ORG=WEIGHT, as in acme=2,globex=0.5")
        if not is_id(org_id):
            raise ValueError(f"the pair {shown(pair)} names no org: {shown(org_id)} is not an id; {ID_RULE}")
        if org_id in weights:
            raise ValueError(f"the pair {shown(pair)} is the second one of org {org_id}; keep one")
        weights[org_id] = _weight(pair, number)
    return weights


def _weight(pair: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = float("nan")
    if not LEAST <= weight <= MOST:
        raise ValueError(
            f"the pair {shown(pair)} has the weight {shown(number)}; use a number above 0, from {LEAST:g} to {MOST:g}"
        )
    return weight
