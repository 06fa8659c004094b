"""Reads every key of a store and says what does not belong or does not agree, after the directory in store/keys.py.

Independent of how the store got there: it compares the indexes, counters, queues and leases with the jobs themselves.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis, RedisCluster

from qgjob_coordinator.store import keys

HEAD_STARTS = {"1": 0, "2": 1200 * 10**6, "3": 28_800 * 10**6}
FAILED_FIRST_SCORE = 600 * 10**6
ORG_PREFIX = "qg:o:{"
FLEET_KINDS = {
    "schema",
    "store",
    "orgs",
    "act",
    "agents",
    "ag",
    "ao",
    "da",
    "dv",
    "sw",
    "probe",
    "ty",
    "op",
    "mg",
    "in",
    "idle",
    "fe",
}
FLEET_ROWS = ("ag", "ao", "da", "dv", "fe")
FOREVER = {"fl", "ct", "ev", "est", "bd", "bc"}
"""What is left of an org when its jobs and their copies are gone; entries with a time to live come on top."""
INDEX_OF = {"q": "a", "s": "a", "r": "a", "c": "c", "f": "f", "x": "x"}
FINGERPRINT = 20
PARTS = {"l", "st", "pr", "rv", "ar", "en"}
"""Characters of a content hash that equal jobs share."""
NEVER = -1
"""What PTTL answers of a key without an end; of one that has ended since it was found it is -2."""
ESTIMATE = re.compile(r"\d+!? \d+ \d+")
TYPICAL = re.compile(r"\d+ [1-9]\d*")
EXPECTED = re.compile(r"[1-9]\d*!?|0!")
_READERS = {
    "j": "hgetall",
    "d": "get",
    "g": "hgetall",
    "gd": "hgetall",
    "dd": "hgetall",
    "fl": "hgetall",
    "ct": "hgetall",
    "est": "hgetall",
    "gs": "smembers",
    "la": "smembers",
    "rv": "smembers",
    "al": "pttl",
    "ik": "pttl",
    "op": "pttl",
    "su": "pttl",
    "sd": "pttl",
    "rl": "pttl",
    "rc": "hgetall",
    "bo": "hgetall",
    "bd": "hgetall",
    "bc": "hgetall",
    "er": "pttl",
    "ar": "hgetall",
    "lg": "pttl",
    "ev": "xlen",
}
_READERS |= dict.fromkeys(("ix", "rj", "q", "dl", "qx", "ov", "ak", "ag"), "zrange")
READ = """
local replies = {}
for i = 1, #ARGV, 2 do
  if ARGV[i] == 'zrange' then
    replies[#replies + 1] = redis.call('ZRANGE', ARGV[i + 1], 0, -1, 'WITHSCORES')
  elseif ARGV[i] == 'type' then
    replies[#replies + 1] = redis.call('TYPE', ARGV[i + 1]).ok
  else
    replies[#replies + 1] = redis.call(ARGV[i], ARGV[i + 1])
  end
end
return replies
"""
AT_ONCE = 500
"""Keys in one call."""


def audit(raw: Redis, only_org: str | None = None) -> list[str]:
    """Everything that is wrong, in words; empty when the store is sound."""
    wrong: list[str] = []
    by_org: dict[str, dict[str, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
    wanted: list[tuple[str, str, str, str]] = []
    for key in _keys(raw, "*" if only_org is None else f"{keys.org(only_org)}*"):
        if key.startswith(keys.FLEET):
            kind = key.removeprefix(keys.FLEET).partition(":")[0]
            if kind not in FLEET_KINDS:
                wrong.append(f"{key}: not in the directory")
        elif key.startswith(ORG_PREFIX):
            org_id, _, suffix = key.removeprefix(ORG_PREFIX).partition("}:")
            kind, _, name = suffix.partition(":")
            wanted.append((org_id, kind, name, key))
        elif not re.fullmatch(r"qg:p:\{\d+\}", key):
            wrong.append(f"{key}: outside of both tags")
    if only_org is None:
        wrong += _installs(raw)
        wrong += _fleet(raw)
    wrong += [f"{key}: not in the directory" for _, kind, _, key in wanted if kind not in _READERS]
    asked = [(_READERS.get(kind, "type"), key) for _, kind, _, key in wanted]
    read = _of_cluster if isinstance(raw, RedisCluster) else _of_server
    for (org_id, kind, name, _), value in zip(wanted, read(raw, asked), strict=True):
        by_org[org_id][kind][name] = value
    for org_id, found in by_org.items():
        wrong += [f"org {org_id}: {w}" for w in _OrgAudit(found).run()]
    return wrong


def _of_cluster(raw: RedisCluster, asked: Sequence[tuple[str, str]]) -> Iterable[Any]:
    """The value of each key, by the command that reads it."""
    pipe = raw.pipeline(transaction=False)
    for command, key in asked:
        if command == "zrange":
            pipe.zrange(key, 0, -1, withscores=True)
        else:
            getattr(pipe, command)(key)
    for (command, _), value in zip(asked, pipe.execute(), strict=True):
        yield dict(value) if command == "zrange" else value


def _of_server(raw: Redis, asked: Sequence[tuple[str, str]]) -> Iterable[Any]:
    """The same in one call: machines ask after each step."""
    for at in range(0, len(asked), AT_ONCE):
        some = asked[at : at + AT_ONCE]
        replies = raw.eval(READ, 0, *[word for one in some for word in one])
        for (command, _), value in zip(some, replies, strict=True):
            if command == "hgetall":
                yield dict(zip(value[::2], value[1::2], strict=True))
            elif command == "zrange":
                yield {member: float(score) for member, score in zip(value[::2], value[1::2], strict=True)}
            else:
                yield set(value) if command == "smembers" else value


def _keys(raw: Redis, pattern: str) -> list[str]:
    """Of all nodes of a Cluster; its client asks one of them, if it is not told."""
    if isinstance(raw, RedisCluster):
        return list(raw.keys(pattern, target_nodes=RedisCluster.PRIMARIES))
    return list(raw.keys(pattern))


def _installs(raw: Redis) -> list[str]:
    """What the orgs count is what the devices count, and what those did that are gone."""
    pipe = raw.pipeline(transaction=False)  # a store that tests share has hundreds of devices
    for key in _keys(raw, f"{keys.FLEET}dv:*"):
        pipe.hget(key, "installs")
    of_devices = sum(int(installs or 0) for installs in pipe.execute())
    of_orgs = sum(map(int, raw.hgetall(f"{keys.FLEET}in").values()))
    return [f"installs: {of_devices} of devices, {of_orgs} of orgs"] if of_devices > of_orgs else []


def _fleet(raw: Redis) -> list[str]:
    """Agents and devices have all that is theirs, or nothing."""
    fleet = keys.FLEET
    listed = raw.smembers(f"{fleet}agents")
    found = _keys(raw, "*")
    of = {kind: {k.partition(f"{kind}:")[2] for k in found if k.startswith(f"{fleet}{kind}:")} for kind in FLEET_ROWS}
    wrong = [f"agents: {sorted(listed ^ of['ag'])} have no row, or are not listed"] if listed != of["ag"] else []
    wrong += [
        f"{kind}: of agents that are not known: {sorted(of[kind] - listed)}"
        for kind in ("ao", "da")
        if of[kind] - listed
    ]
    shown = {device for agent_id in of["da"] for device in raw.smembers(f"{fleet}da:{agent_id}")}
    if shown != of["dv"]:
        wrong.append(f"dv: {sorted(shown ^ of['dv'])} have no row, or no agent")
    wrong += [f"fe:{a} never ends" for a in of["fe"] if raw.pttl(f"{fleet}fe:{a}") == NEVER]
    return wrong


def leftovers(raw: Redis, org_id: str) -> list[str]:
    """Keys of an org that are neither for ever nor end by themselves."""
    prefix = keys.org(org_id)
    found = [k for k in raw.keys(f"{prefix}*") if k.removeprefix(prefix) not in FOREVER]
    return sorted(k for k in found if raw.pttl(k) < 0)


def _held(job: dict[str, str]) -> bool:
    """Whether a job has a lease; what a completed one has is of the attempt that passed."""
    return "l" in job and job["s"] != "c"


def _with_parts(job: dict[str, str]) -> dict[str, str]:
    """A job with what it has from its submission as fields of their own."""
    names = ("g", "o", "p", "mr", "x")
    return job | dict(zip(names, job["i"].split(" "), strict=False))


class _OrgAudit:
    def __init__(self, found: dict[str, dict[str, Any]]) -> None:
        self._found = found
        self._jobs: dict[str, dict[str, str]] = {ulid: _with_parts(j) for ulid, j in found["j"].items()}
        self._wrong: list[str] = []

    def run(self) -> list[str]:
        self._texts()
        self._indexes()
        self._runs()
        self._queues()
        self._groups()
        self._deadlines()
        self._overflows()
        self._dedup()
        self._leases()
        self._counters()
        self._copies()
        self._estimates()
        self._builds()
        self._evidence()
        return self._wrong

    def _same(self, what: str, actual: object, expected: object) -> None:
        if actual != expected:
            self._wrong.append(f"{what} is {actual}, by the jobs it should be {expected}")

    def _texts(self) -> None:
        self._same("d:", set(self._found["d"]), set(self._jobs))

    def _indexes(self) -> None:
        expected: dict[str, dict[str, float]] = defaultdict(dict)
        for ulid, j in self._jobs.items():
            expected[INDEX_OF[j["s"]]][ulid] = float(j["o"])
        self._same("ix:", self._found["ix"], dict(expected))

    def _runs(self) -> None:
        expected: dict[str, dict[str, float]] = defaultdict(dict)
        for ulid, j in self._jobs.items():
            for run in j.get("rn", ".").split(","):
                if run != ".":
                    expected[run][ulid] = float(j["o"])
        self._same("rj:", self._found["rj"], dict(expected))

    def _queues(self) -> None:
        queues: dict[str, dict[str, float]] = defaultdict(dict)
        delayed: dict[str, float] = {}
        for ulid, j in self._jobs.items():
            if j["s"] != "q":
                self._same(f"j:{ulid} nb", j.get("nb"), None)
            elif "nb" in j:
                delayed[ulid] = float(j["nb"])
            elif "l" not in j:
                avoided = f"!{j['av']}" if j.get("av") else ""
                known = j.get("x", "")
                head_start = HEAD_STARTS[j["p"]] + known.endswith("!") * FAILED_FIRST_SCORE
                queues[f"{j['g']}:{j.get('sb', '')}{avoided}"][f"{ulid} {known}".strip()] = int(j["o"]) - head_start
        self._same("q:", self._found["q"], dict(queues))
        self._same("dl", self._found["dl"].get("", {}), delayed)
        for name in self._found["q"]:
            gid, _, sig = name.partition(":")
            if f"q:{sig}" not in self._found["g"].get(gid, {}):
                self._wrong.append(f"q:{name} is not listed by its group")

    def _groups(self) -> None:
        unfinished = Counter(j["g"] for j in self._jobs.values() if j["s"] in "qsr")
        self._same("gs", self._found["gs"].get("", set()), set(unfinished))
        counted = {gid: int(g.get("u", -1)) for gid, g in self._found["g"].items()}
        self._same("g: u", counted, dict(unfinished))
        for gid, g in self._found["g"].items():
            if "a" not in g or "t" not in g:
                self._wrong.append(f"g:{gid} has no app version or target: {g}")
        serving: dict[str, Counter[str]] = defaultdict(Counter)
        for j in self._jobs.values():
            if _held(j):
                serving[j["g"]][j["l"].split(" ")[3]] += 1
        held = {gid: {d: int(n) for d, n in per.items()} for gid, per in self._found["gd"].items()}
        self._same("gd:", held, {gid: dict(per) for gid, per in serving.items()})

    def _deadlines(self) -> None:
        watched = self._found["qx"].get("", {})
        for ulid, at in watched.items():
            if float(self._jobs.get(ulid, {}).get("qd", "-1")) != at:
                self._wrong.append(f"qx has {ulid} at {at}, which the job has not")
        for ulid, j in self._jobs.items():
            if j["s"] == "q" and "qd" in j and ulid not in watched:
                self._wrong.append(f"qx has not {ulid}, which waits with a deadline")
            if j["s"] not in "qsr" and ulid in watched:
                self._wrong.append(f"qx has {ulid}, which has a verdict")

    def _overflows(self) -> None:
        judged = set(self._found["ov"].get("", {}))
        for ulid, j in self._jobs.items():
            may_go = "ov" in j and "mv" not in j
            if j["s"] == "q" and may_go and j.get("n", "0") == "0" and ulid not in judged:
                self._wrong.append(f"ov has not {ulid}, which may go to its second target")
            if ulid in judged and not (j["s"] in "qsr" and may_go):
                self._wrong.append(f"ov has {ulid}, which goes nowhere")
            if "mv" in j and j["g"][0] != j["ov"][0]:
                self._wrong.append(f"j:{ulid} went to {j['ov'][0]} and is of {j['g']}")
        self._same("ov of jobs that are not there", judged - set(self._jobs), set())

    def _dedup(self) -> None:
        expected = {j["h"][:FINGERPRINT]: ulid for ulid, j in self._jobs.items() if j["s"] in "qsr" and "nd" not in j}
        self._same("dd", self._found["dd"].get("", {}), expected)

    def _leases(self) -> None:
        leases: dict[str, set[str]] = defaultdict(set)
        revoked: dict[str, set[str]] = defaultdict(set)
        for ulid, j in self._jobs.items():
            if _held(j):
                epoch, token, agent, _device, _scheduled = j["l"].split(" ")
                leases[agent].add(ulid)
                if "rv" in j:
                    revoked[agent].add(f"{ulid} {token}")
                if int(epoch) > int(self._found["fl"].get("", {}).get(agent, 0)):
                    self._wrong.append(f"j:{ulid} has epoch {epoch}, above the lowest that may claim")
            elif set(j) & PARTS not in ((set(), {"l", "en"}) if j["s"] == "c" else (set(),)) or j["s"] in "sr":
                self._wrong.append(f"j:{ulid} has parts of a lease: {j}")
        self._same("la:", self._found["la"], dict(leases))
        self._same("rv:", self._found["rv"], dict(revoked))

    def _counters(self) -> None:
        counted = {f: int(n) for f, n in self._found["ct"].get("", {}).items() if len(f) == 2 and int(n) != 0}
        self._same("ct", counted, dict(Counter(j["s"] + j["g"][0] for j in self._jobs.values())))

    def _estimates(self) -> None:
        for field, text in self._found["est"].get("", {}).items():
            shape = TYPICAL if field == "*" else ESTIMATE
            if not shape.fullmatch(text) or field[0] not in "edb*":
                self._wrong.append(f"est has {field}: {text}")
        for gid, g in self._found["g"].items():
            if not TYPICAL.fullmatch(g.get("m", "1 1")):
                self._wrong.append(f"g:{gid} has a typical duration of {g['m']}")
        for ulid, j in self._jobs.items():
            if not EXPECTED.fullmatch(j.get("x", "1")):
                self._wrong.append(f"j:{ulid} is expected to take {j['x']}")

    def _builds(self) -> None:
        named = Counter(value.split(" ")[2] for value in self._found["bd"].get("", {}).values())
        contents = {digest: value.split(" ")[:2] for digest, value in self._found["bc"].get("", {}).items()}
        for digest in named.keys() | contents.keys():
            count, since = contents.get(digest, ("0", "leaving"))
            if int(count) != named[digest] or (since.startswith("leaving") and named[digest]):
                self._wrong.append(
                    f"bc has {digest} with {count} names since {since}, bd names it {named[digest]} times"
                )

    def _evidence(self) -> None:
        kept, leaving = (set(self._found[kind].get("", {})) for kind in ("ak", "ag"))
        for ulid, fields in self._found["ar"].items():
            if ulid not in (leaving if "gone" in fields else kept):
                self._wrong.append(f"ar:{ulid} is in no list: {sorted(fields)}")
        self._same("ak and ag", kept | leaving, set(self._found["ar"]))

    def _copies(self) -> None:
        for kind in ("al", "ik", "op", "su", "sd", "rl", "er"):
            for name, ttl in self._found[kind].items():
                if ttl == NEVER:
                    self._wrong.append(f"{kind}:{name} never ends")
        for name, ttl in self._found["lg"].items():
            ulid = name.partition(":")[0]
            if ttl == NEVER or (ulid not in self._jobs and ttl >= 0):
                self._wrong.append(f"lg:{name} has no job, or never ends")
