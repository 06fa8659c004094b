"""Every scenario comes to the same over gRPC and over REST, and to what is written beside it."""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest

from tests.contract.api import Reply
from tests.contract.rest import RestApi
from tests.contract.rpc import RpcApi
from tests.contract.scenarios import SCENARIOS
from tests.fakes.coordinator_process import CoordinatorProcess

_ORGS = itertools.count(1)
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
# What two runs of a scenario can't have in common.
_VARIES = {"next_page_token", "group_id", "plans", "plan_ms_p50", "oldest_queued_age_seconds", "device_id"}
_FLEET_WIDE = {"installs", "installs_saved", "agents_online", "devices"}


def alike(replies: list[Reply], org: str) -> list[Any]:
    """The replies without what differs from one run to the next: ids by their order, times by their presence."""
    names: dict[str, str] = {}
    text = json.dumps([{"word": r.word, "created": r.created, "value": r.value} for r in replies])
    text = _ULID.sub(lambda m: names.setdefault(m[0], f"ULID-{len(names)}"), text.replace(org, "ORG"))
    return [_masked(v) for v in json.loads(_TIME.sub("TIME", text))]


def _masked(value: Any, key: str = "") -> Any:
    if key == "labels":
        return dict(sorted(value.items()))  # a map has no order
    if isinstance(value, dict):
        return {k: _masked(v, k) for k, v in value.items()}
    if isinstance(value, list):
        return [_masked(v) for v in value]
    if key in _VARIES or key.endswith(("_ms", "installs")) or key in _FLEET_WIDE:
        return value if value is None else type(value).__name__
    return value


def words(replies: list[Reply]) -> list[str]:
    return ["created" if r.created else r.word for r in replies]


@pytest.mark.parametrize("name", SCENARIOS)
async def test_both_protocols_agree(fleet: CoordinatorProcess, rest: RestApi, rpc: RpcApi, name: str) -> None:
    steps, expected = SCENARIOS[name]
    by_rest, by_rpc = f"rest-{next(_ORGS)}", f"grpc-{next(_ORGS)}"
    over_rest = await steps(rest, by_rest)
    assert words(over_rest) == expected
    over_rpc = await steps(rpc, by_rpc)
    assert words(over_rpc) == expected
    assert json.dumps(alike(over_rpc, by_rpc)) == json.dumps(alike(over_rest, by_rest)), "shape, order and values"
    for reply in (*over_rest, *over_rpc):
        if reply.code != "ok" and reply.field:
            assert reply.message
