"""The key directory: every key of the store, its type, who writes it, and how long it lives.

A script touches one hash tag only: the org's or the fleet's. Scripts get the prefix of their tag as KEYS[1] and append
the suffixes below, so this page and the headers in `lua/` are the only places that know a key's name.

Tenant keys, prefix `qg:o:{<org_id>}:`

| suffix            | type   | holds                                                        | lives until |
|-------------------|--------|--------------------------------------------------------------|-------------|
| j:<ulid>          | hash   | a job's small, changing fields (see codec.py)                 | retention |
| d:<ulid>          | string | what was submitted; lines of ended attempts (see codec.py)    | retention |
| ix:{a,c,f,x}      | zset   | ulids by order: unfinished, completed, failed, cancelled      | retention |
| rj:<run_id>       | zset   | ulids of a run by order                                       | retention |
| rl:<run_id>       | string | when a job left it (ms), wanted by others as it was cancelled | 7 days |
| gs                | set    | groups with unfinished jobs                                   | last job ends |
| g:<gid>           | hash   | app version, target, jobs, installs, duration, `q:<sig>` queues | last job ends |
| gd:<gid>          | hash   | device -> attempts of the group that it holds                 | last lease ends |
| q:<gid>:<sig>     | zset   | ready jobs by score (policy/rank.py): ulid, expected duration | empty |
| dl                | zset   | ulids by not_before (ms)                                      | empty |
| qx                | zset   | ulids by queue deadline (ms)                                  | empty |
| ov                | zset   | ulids of jobs that may go to a second target, by when that is judged next (ms) | empty |
| dd                | hash   | fingerprint -> ulid of the equal unfinished job               | verdict |
| al:<ulid>         | string | proposed id -> `ulid hash`: the returned job, what was sent   | 24 h |
| ik:<digest>       | string | idempotency key -> `ulid status hash`, what was sent; status `-` until retention | 24 h |
| op:<kind>:<id>    | string | kind cancel or retry: digest of what was asked, first answer  | 10 min |
| su:<digest>       | hash   | key of supersede: `run` that has it, `old` runs to cancel when it is complete | 30 days |
| sd:<run_id>       | string | run that took a key from it                                   | 30 days after that |
| rc                | hash   | run to cancel -> mark and reason                               | its jobs are cancelled |
| er                | string | who cancels the runs of rc                                    | its end, 5 s |
| bo                | hash   | `run client` -> `ms counter`: how long it may be silent, renewals | the client is gone |
| la:<agent_id>     | set    | ulids with a lease of that agent, revoked ones too            | lease ends |
| rv:<agent_id>     | set    | `ulid token` of its revoked leases                            | lease ends |
| fl                | hash   | agent -> lowest epoch that may claim                          | for ever |
| ct                | hash   | counters: `<status><target>`, saved                           | for ever |
| est               | hash   | target letter, digest of the test path -> duration; `*` (estimates.py) | 20,000 fields |
| ev                | stream | transitions, capped                                           | trimmed |
| bd                | hash   | what names builds and suites -> content, last use (contents.py) | unused too long |
| bc                | hash   | digest -> how many names, since when, what it is (contents.py) | a day unnamed |
| ar:<ulid>         | hash   | files that the job's attempts left (artifacts.py)             | 2 h after removal |
| ak                | zset   | ulids by when a file was added last (ms)                      | ARTIFACT_RETENTION_DAYS |
| ag                | zset   | ulids of jobs whose files are being removed, since when (ms)  | 2 h |
| lg:<ulid>:<n>     | list   | log tail of attempt n: `<offset 16 digits><data>`, capped      | 1 h after the verdict |

A key of each node of a Cluster, `qg:p:{<number>}`: a string, written to see that the node takes writes; 1 min.

Fleet keys, prefix `qg:f:{fleet}:`

| suffix        | type   | holds                                                             | lives until |
|---------------|--------|-------------------------------------------------------------------|-------------|
| schema        | string | schema version; `4>5` while the store is brought from one to the next | for ever |
| mg            | hash   | who is at that, and the count of its steps                         | its end |
| store         | hash   | run_id and epoch of the store's present life; number of holds      | for ever |
| probe         | string | written to see that the store takes writes                         | 1 min |
| orgs          | set    | registry of orgs                                                   | idle |
| idle          | hash   | org of which nothing was left -> when (ms); of the registry too    | a day |
| act           | set    | orgs with waiting work; a hint that the sweep repairs              | pruned |
| agents        | set    | agent ids                                                          | forgotten |
| ag:<agent_id> | hash   | epoch, instance, counter, state, facts, hold:draining, holds_seen | forgotten |
|               |        | of its session: life, back, spared                                | forgotten |
| fe:<agent_id> | string | epoch of an agent that was forgotten: its next session is above it | that, or 30 days |
| ao:<agent_id> | set    | orgs in which the agent may have leases; `*`: the whole registry   | close and release |
| da:<agent_id> | set    | its device ids                                                     | forgotten |
| dv:<device>   | hash   | facts, installed, job, hold:<slot>, labels, wear, record, proven, gone | forgotten |
| op:<id>       | string | operation on the fleet -> number of its hold, or what it forgot    | 10 min |
| up:<account>:<digest> | string | `held <token>` while an agent uploads, `known <where>` after that | its end, 10 min |
| in            | hash   | org -> installations that devices did for it                       | for ever |
| ty            | hash   | `*` -> typical duration of a test, target letter -> of an install | for ever |
| sw            | set    | `agent epoch` of closed sessions whose leases are still to release | swept |

*Forgotten*: an agent that is closed and swept and was not heard for the time of retention, or that a person forgets; a
device that was not shown for as long. `fl` stays: a claim of before may come late, and a floor takes some 20 bytes.
"""

from __future__ import annotations

SCHEMA_VERSION = 6

FLEET = "qg:f:{fleet}:"
PROBE = f"{FLEET}probe"
ALL_ORGS = "*"
"""Stands in an agent's set for every org of the registry. No org can be called so."""

ALIAS_TTL_MS = 24 * 3600 * 1000
IDEMPOTENCY_TTL_MS = 24 * 3600 * 1000
OPERATION_TTL_MS = 600 * 1000
SUPERSEDE_TTL_MS = 30 * 24 * 3600 * 1000
"""After a run took the key last."""
SUPERSEDED_TTL_MS = SUPERSEDE_TTL_MS
"""After the run lost the key. A key that newer runs took lives longer: what the run brings then takes it back."""
LEFT_RUN_TTL_MS = 7 * 24 * 3600 * 1000
"""So long a run is known that a cancel left no job in, since others want them."""
FORGOTTEN_TTL_MS = 30 * 24 * 3600 * 1000
"""So long the epoch of an agent is kept that was forgotten, if it does not come back."""
LOG_TTL_MS = 3600 * 1000
"""After the verdict; the scripts have it as LOG_KEPT in lua/lib/attempt.lua."""
LOG_TAIL_BYTES = 64 * 1024

WAKE_CHANNEL = "qg:f:{fleet}:wake"
"""Pub/sub: hints for other coordinators, `<kind> <id>`. Never the truth."""


def org(org_id: str) -> str:
    """Prefix of an org's keys. `org_id` was checked against the contract's alphabet, so it can't forge a key."""
    return f"qg:o:{{{org_id}}}:"


def probe(number: int) -> str:
    """A key to try a write on; some number has a slot of the node in question."""
    return f"qg:p:{{{number}}}"
