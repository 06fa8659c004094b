"""What processes counted, as JSON, and added up.

Counters and histograms are sums. The lag of the event loops is that of the latest one, and the recent times of plans
are put together, for their median.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from qgjob_coordinator.telemetry import Histogram, Telemetry

NUMBERS = ("leases_lost", "plans")
COUNTERS = (
    "submitted",
    "finished",
    "attempts",
    "installs",
    "overflows",
    "org_faults",
    "quarantines",
    "probes",
    "rpc_started",
    "rpc_handled",
    "process_ends",
)
HISTOGRAMS = ("queue_seconds", "run_seconds", "start_error", "plan_ms")
TABLES = ("store_seconds", "rpc_seconds")
"""Histograms by a key."""

Json = Mapping[str, Any]


def dump(t: Telemetry) -> dict[str, Any]:
    """As JSON. A key of several words becomes a list."""
    return {
        **{name: getattr(t, name) for name in NUMBERS},
        **{name: list(getattr(t, name).items()) for name in COUNTERS},
        **{name: _dump(getattr(t, name)) for name in HISTOGRAMS},
        **{name: [(key, _dump(h)) for key, h in getattr(t, name).items()] for name in TABLES},
        "loop_lag_seconds": t.loop_lag_seconds,
        "recent_plan_ms": list(t.recent_plan_ms),
        "processes": list(t.processes.items()),
    }


def load(json: Json) -> Telemetry:
    """What `dump` made, also that of another version: what it does not count is 0, and what only it counts is left out.

    Raises ValueError, TypeError for what no version says.
    """
    t = Telemetry()
    for name in NUMBERS:
        setattr(t, name, json.get(name, 0))
    for name in COUNTERS:
        setattr(t, name, Counter({_key(key): n for key, n in json.get(name, ())}))
    for name in HISTOGRAMS:
        if name in json:
            setattr(t, name, _load(json[name]))
    for name in TABLES:
        setattr(t, name, {_key(key): _load(h) for key, h in json.get(name, ())})
    t.loop_lag_seconds = json.get("loop_lag_seconds", 0.0)
    t.recent_plan_ms.extend(json.get("recent_plan_ms", ()))
    t.processes = dict(json.get("processes", ()))
    return t


def add(total: Telemetry, t: Telemetry) -> None:
    """Adds what another process counted, or what one counted that has ended."""
    for name in NUMBERS:
        setattr(total, name, getattr(total, name) + getattr(t, name))
    for name in COUNTERS:
        getattr(total, name).update(getattr(t, name))
    for name in HISTOGRAMS:
        getattr(total, name).add(getattr(t, name))
    for name in TABLES:
        table = getattr(total, name)
        for key, h in getattr(t, name).items():
            table.setdefault(key, Histogram(h.bounds)).add(h)
    total.loop_lag_seconds = max(total.loop_lag_seconds, t.loop_lag_seconds)
    # Of each as many: with a limit, those of the last process would push the others out.
    total.recent_plan_ms = type(total.recent_plan_ms)([*total.recent_plan_ms, *t.recent_plan_ms])


def _dump(h: Histogram) -> list[Any]:
    return [h.bounds, h.counts, h.sum]


def _load(json: Any) -> Histogram:
    bounds, counts, total = json
    h = Histogram(tuple(bounds))
    if len(counts) != len(h.counts):
        raise ValueError(f"{len(counts)} buckets for {len(bounds)} bounds")
    h.counts, h.sum = list(counts), total
    return h


def _key(json: Any) -> Any:
    return tuple(json) if isinstance(json, list) else json
