"""Rules about leases: each finds the history that breaks it. And what the witness makes of the store's own words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob_coordinator.store.scripts import LUA
from tests.chaos.checker import check
from tests.chaos.histories import ACME, Case, each, judge, sound
from tests.chaos.history import SHOWS, Cut, History, Write
from tests.chaos.rules_grants import by_token
from tests.chaos.witness import SHOWN_BY, Scripts


def older_token(h: History) -> None:
    verdict = h.events[6]
    assert verdict.letter == "c"
    h.events[6] = replace(verdict, attempt=1, device_id="cmd-2-1", agent_id="cmd-2")


def same_attempt_elsewhere(h: History) -> None:
    h.events[6] = replace(h.events[6], device_id="cmd-1-2")


def witnessed(h: History) -> None:
    """The first job's leases t1, lost, and t2, by which it passed, as the store carried them out."""
    letters = {e.version: e.letter for e in h.events if e.job_id == ACME}
    assert letters == dict(enumerate("qsrqsrc", 1))
    said = {2: (), 3: ("t1",), 4: (), 5: (), 6: ("t2",), 7: ("t2",)}
    granted = {2: "t1", 5: "t2"}
    agents = {2: "cmd-2", 5: "cmd-1"}
    h.writes = [Write(1.0 + v / 10, ACME, v, letters[v], granted.get(v), said[v], agent_id=agents.get(v)) for v in said]


def a_finish_by_an_older_token(h: History) -> None:
    """Attempt, device and agent are the same: only the tokens differ."""
    witnessed(h)
    h.events = [replace(e, device_id="cmd-1-1", agent_id="cmd-1") if e.device_id else e for e in h.events]
    h.writes[5] = replace(h.writes[5], said=("t1",))


def a_start_by_an_older_token(h: History) -> None:
    witnessed(h)
    h.writes[4] = replace(h.writes[4], said=("t1",))


def a_retry_by_an_older_token(h: History) -> None:
    """What reports a failure of the lost lease takes the job from the one that has it now."""
    witnessed(h)
    i = next(i for i, e in enumerate(h.events) if (e.job_id, e.version) == (ACME, 6))
    h.events[i] = replace(h.events[i], letter="q", device_id=None, agent_id=None)
    h.writes[4] = replace(h.writes[4], letter="q", said=("t1",))


def given_up_as_only_the_older_token_was_shown(h: History, by: str = "cmd-1") -> None:
    """An agent comes back with the lease that was lost, and never knew of the newer one."""
    a_retry_by_an_older_token(h)
    h.writes[4] = replace(h.writes[4], script=SHOWS, agent_id=by)


def given_up_as_another_agent_showed_its_lost_lease(h: History) -> None:
    given_up_as_only_the_older_token_was_shown(h, "cmd-2")


def a_verdict_by_no_report(h: History) -> None:
    witnessed(h)
    h.writes[5] = replace(h.writes[5], said=("1",))


RULE = "reports_carry_the_last_token"
BROKEN = [
    Case(older_token, "the_last_grant_decides", f"P3: the verdict of {ACME} is by (1, 'cmd-2-1', 'cmd-2')"),
    Case(same_attempt_elsewhere, "the_last_grant_decides", "and (2, 'cmd-1-1', 'cmd-1') was granted last"),
    Case(a_finish_by_an_older_token, RULE, f"{ACME} became c in version 7 by t1, t2 was the last", alone=True),
    Case(a_start_by_an_older_token, RULE, f"{ACME} became r in version 6 by t1, t2 was the last", alone=True),
    Case(a_retry_by_an_older_token, RULE, f"{ACME} became q in version 6 by t1, t2 was the last"),
    Case(given_up_as_another_agent_showed_its_lost_lease, RULE, f"{ACME} became q in version 6 by t1, t2 was the last"),
    Case(a_verdict_by_no_report, RULE, f"{ACME} became c in version 7 by no lease, t2 was the last", alone=True),
]


@each(BROKEN)
def test_each_broken_promise_is_found(case: Case) -> None:
    judge(case)


def test_reports_of_the_last_lease_are_not_blamed_and_are_counted() -> None:
    history = sound()
    witnessed(history)
    assert check(history) == []
    assert by_token(history) == (1, 2)  # the second job's were not seen


def test_leases_that_an_agent_shows_are_no_reports() -> None:
    history = sound()
    given_up_as_only_the_older_token_was_shown(history)
    assert RULE not in {violation.rule for violation in check(history)}


@pytest.mark.parametrize("unseen", [3, 5])
def test_what_was_not_seen_is_not_judged(unseen: int) -> None:
    history = sound()
    a_finish_by_an_older_token(history)
    del history.writes[unseen]
    assert check(history) == []


def test_what_the_store_forgot_does_not_count_as_granted() -> None:
    history = sound()
    witnessed(history)
    forgotten = replace(history.writes[3], at=1.45, granted="t9")
    history.writes.append(forgotten)
    history.cuts = [Cut(1.42, 1.48)]
    assert check(history) == []


def test_what_the_master_did_beside_another_one_is_judged() -> None:
    history = sound()
    a_finish_by_an_older_token(history)
    history.cuts = [Cut(1.0, 3.0, until=3.0, by_another=True)]
    assert [v.rule for v in check(history)] == [RULE]
    history.cuts = [Cut(1.0, 3.0, until=3.0)]
    assert check(history) == []


CLAIM = '1.5 [0 127.0.0.1:5] "EVALSHA" "ab" "1" "qg:o:{acme}:" "9" "-1" "-1" "cmd-1" "3" "cmd-1-1" "dg" "1" "01" "t1"'
GRANT = '1.5 [0 lua] "HSET" "qg:o:{acme}:j:01" "s" "s" "l" "3 t1 cmd-1 cmd-1-1 9" "n" "1" "v" "2"'
FINISH = '2.5 [0 127.0.0.1:5] "EVALSHA" "cd" "1" "qg:o:{acme}:" "9" "01" "t1" "Pl" "say \\"hi\\"" "02" "t7" "P"'
VERDICT = '2.5 [0 lua] "HSET" "qg:o:{acme}:j:01" "s" "c" "oc" "passed 9" "v" "4"'


def test_a_witness_reads_which_lease_was_granted_and_what_a_report_said() -> None:
    scripts = Scripts()
    lines = [CLAIM, '1.5 [0 lua] "HMGET" "qg:o:{acme}:j:01" "s"', GRANT, FINISH, VERDICT]
    found = [write for line in lines if (write := scripts.read(line)) is not None]
    assert found == [
        Write(1.5, ACME, 2, "s", "t1", ("t1",), epoch=3, agent_id="cmd-1"),
        Write(2.5, ACME, 4, "c", None, ("t1",)),
    ]


ADOPT = (
    '2.5 [0 127.0.0.1:5] "EVALSHA" "ef" "1" "qg:o:{acme}:" "9" "8" "8" "3" "1000" "60000" "2" "cmd-1" "4" "0.5" "{}" '
    '"01" "t1"'
)
GIVEN_UP = '2.5 [0 lua] "HSET" "qg:o:{acme}:j:01" "s" "q" "v" "4"'


def test_a_witness_reads_which_agent_shows_its_leases() -> None:
    scripts = Scripts({"ef": SHOWS})
    found = [write for line in (ADOPT, GIVEN_UP) if (write := scripts.read(line)) is not None]
    assert found == [Write(2.5, ACME, 4, "q", None, ("t1",), SHOWS, agent_id="cmd-1")]
    assert f" {SHOWN_BY} agent " in (LUA / f"{SHOWS}.lua").read_text()


def test_a_witness_passes_over_what_changes_no_status() -> None:
    scripts = Scripts()
    adopted = GRANT.replace('"s" "s" ', "").replace(' "n" "1" "v" "2"', "")
    counted = '1.5 [0 lua] "HSET" "qg:o:{acme}:ct" "s" "1" "v" "1"'
    assert [scripts.read(line) for line in (CLAIM, adopted, counted, "OK")] == [None] * 4
