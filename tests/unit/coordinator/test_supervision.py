"""When a process is started, asked to end and killed: transcripts of what happened (left) and what was decided (right).

`look` is time passing. A life is written `2@1`: the second process that was started, in place 1.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from qgjob_coordinator.processes.instructions import End, Instruction, Kill, Say, ShowStack, Start, Terminate
from qgjob_coordinator.processes.supervision import How, Rules, Supervision

RULES = Rules(
    2,
    silent_seconds=8,
    hung_seconds=10,
    start_seconds=60,
    stop_seconds=30,
    stable_seconds=60,
    first_pause_seconds=1,
    longest_pause_seconds=30,
    blind_seconds=1000,
)


class Transcript:
    """Runs what happened, and writes it down with what was decided."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.machine = Supervision(rules)
        self._places: dict[int, int] = {}

    def of(self, lines: list[str]) -> list[str]:
        """The lines as they should have been written."""
        return [self._line(*line.partition("->")[0].split()) for line in lines]

    def _line(self, at: str, what: str, *about: str) -> str:
        now = float(at)
        if what in ("look", "stop", "restart"):
            todo = getattr(self.machine, what)(now)
        elif what in ("beat", "ready"):
            todo = self.machine.beat(int(about[0]), now, ready=what == "ready")
        else:
            todo = self.machine.ended(int(about[0]), int(about[1]), now)
        happened = " ".join([at, what, *about])
        return f"{happened} -> {', '.join(self._word(each) for each in todo)}".strip()

    def _word(self, each: Instruction) -> str:
        match each:
            case Start(life, place):
                self._places[life] = place
                return f"start {life}@{place}"
            case Terminate(life):
                return f"terminate {self._name(life)}"
            case ShowStack(life):
                return f"stack {self._name(life)}"
            case Kill(life):
                return f"kill {self._name(life)}"
            case End(code):
                return f"end {code}"
            case Say(_, event, life, fields):
                words = [event, *([] if life is None else [self._name(life)])]
                values = dict(fields)
                return " ".join([*words, *(f"{k}={values[k]}" for k in ("how", "next_start_seconds") if k in values)])

    def _name(self, life: int) -> str:
        return f"{life}@{self._places[life]}"


def normal(script: str) -> list[str]:
    return [" ".join(line.split()) for line in script.splitlines() if line.strip()]


def check(script: str, rules: Rules = RULES) -> Supervision:
    transcript = Transcript(rules)
    assert transcript.of(normal(script)) == normal(script)
    return transcript.machine


SERVING = """
0   look    -> start 1@1
1   ready 1 -> process_ready 1@1, start 2@2
2   ready 2 -> process_ready 2@2, processes_ready
"""


def test_the_first_place_is_filled_alone_until_it_served() -> None:
    machine = check(
        """
        0   look    -> start 1@1
        1   beat 1  ->
        5   beat 1  ->
        9   ready 1 -> process_ready 1@1, start 2@2
        """
    )
    assert machine.states() == {"starting": 1, "serving": 1, "ending": 0}


def test_a_hung_one_is_asked_for_its_stack_then_killed_and_replaced_at_once() -> None:
    machine = check(
        f"""{SERVING}
        5    beat 1    ->
        5    beat 2    ->
        12.9 beat 1    ->
        13   look      -> process_silent 2@2, stack 2@2
        14   look      ->
        15   look      -> kill 2@2, process_killed 2@2, start 3@2
        15.1 ended 2 -9 ->
        16   beat 1    ->
        17   ready 3   -> process_ready 3@2, processes_ready
        """
    )
    assert machine.ends == {How.HUNG: 1}


def test_one_that_is_heard_again_is_left_alone() -> None:
    check(
        f"""{SERVING}
        9.9  beat 1 ->
        10   look   -> process_silent 2@2, stack 2@2
        11   beat 2 ->
        17.8 beat 1 ->
        18   look   ->
        19   look   -> process_silent 2@2, stack 2@2
        """
    )


def test_one_that_never_beat_has_longer() -> None:
    check(
        """
        0  look        -> start 1@1
        59 look        ->
        60 look        -> kill 1@1, process_killed 1@1, start 2@1
        61 ended 1 -9  ->
        62 ready 2     -> process_ready 2@1, start 3@2
        """
    )


def test_crashes_are_replaced_at_once_and_then_after_growing_pauses() -> None:
    machine = check(
        f"""{SERVING}
        3    ended 2 -11 -> process_ended 2@2 how=crashed next_start_seconds=0.0, start 3@2
        3.5  ended 3 1   -> process_ended 3@2 how=crashed next_start_seconds=1.0
        4    beat 1      ->
        4.5  look        -> start 4@2
        5    ended 4 1   -> process_ended 4@2 how=crashed next_start_seconds=2.0
        6.9  beat 1      ->
        7    look        -> start 5@2
        8    ended 5 0   -> process_ended 5@2 how=crashed next_start_seconds=4.0
        12   beat 1      -> start 6@2
        """
    )
    assert machine.ends == {How.CRASHED: 4}


def test_one_that_served_for_long_was_no_failure() -> None:
    lines = [f"{at} beat {life} ->" for at in range(10, 100, 7) for life in (1, 2, 3)]
    check(
        f"""{SERVING}
        3   ended 2 1 -> process_ended 2@2 how=crashed next_start_seconds=0.0, start 3@2
        4   ready 3   -> process_ready 3@2, processes_ready
        {chr(10).join(line for line in lines if " 2 " not in line)}
        99  ended 3 1 -> process_ended 3@2 how=crashed next_start_seconds=0.0, start 4@2
        """
    )


@pytest.mark.parametrize(("failures", "pause"), [(0, 0), (1, 0), (2, 1), (3, 2), (6, 16), (7, 30), (5000, 30)])
def test_the_pauses(failures: int, pause: float) -> None:
    assert RULES.pause(failures) == pause


def test_a_wrong_setting_at_the_first_start_ends_all_with_its_code() -> None:
    check(
        """
        0 look      -> start 1@1
        1 ended 1 2 -> end 2
        """
    )


def test_a_wrong_setting_later_is_a_crash() -> None:
    check(
        f"""{SERVING}
        3 ended 2 2 -> process_ended 2@2 how=crashed next_start_seconds=0.0, start 3@2
        """
    )


def test_what_never_serves_is_given_up() -> None:
    check(
        """
        0   look      -> start 1@1
        1   ended 1 1 -> process_ended 1@1 how=crashed next_start_seconds=0.0, start 2@1
        2   ended 2 1 -> process_ended 2@1 how=crashed next_start_seconds=1.0
        3   look      -> start 3@1
        4   ended 3 1 -> process_ended 3@1 how=crashed next_start_seconds=2.0, end 1
        """
    )


def test_a_stop_asks_all_at_once_and_ends_when_the_last_has_ended() -> None:
    machine = check(
        f"""{SERVING}
        3   stop      -> terminate 1@1, terminate 2@2
        3.1 stop      ->
        4   ended 1 0 -> process_ended 1@1 how=asked
        5   ended 2 0 -> process_ended 2@2 how=asked, end 0
        """
    )
    assert machine.ends == {How.ASKED: 2}


def test_one_that_does_not_end_is_killed_and_not_replaced() -> None:
    lines = chr(10).join(f"{at} beat 1 ->" for at in range(9, 33, 6))
    machine = check(
        f"""{SERVING}
        3  stop       -> terminate 1@1, terminate 2@2
        4  ended 2 0  -> process_ended 2@2 how=asked
        {lines}
        33 look       -> kill 1@1, process_killed 1@1
        34 ended 1 -9 -> end 0
        """
    )
    assert machine.ends == {How.ASKED: 1, How.HUNG: 1}


def test_a_restart_goes_from_place_to_place_and_starts_the_new_one_first() -> None:
    check(
        f"""{SERVING}
        3   restart   -> restart_begun, start 3@1
        4   beat 3    ->
        5   ready 3   -> process_ready 3@1, terminate 1@1
        5.5 look      ->
        6   ended 1 0 -> process_ended 1@1 how=asked, start 4@2
        7   ready 4   -> process_ready 4@2, terminate 2@2
        8   ended 2 0 -> process_ended 2@2 how=asked, restart_done
        """
    )


def test_a_restart_while_one_is_under_way_replaces_what_was_started_before_it() -> None:
    check(
        f"""{SERVING}
        3 restart   -> restart_begun, start 3@1
        4 restart   -> restart_begun
        5 ready 3   -> process_ready 3@1, terminate 1@1
        6 ended 1 0 -> process_ended 1@1 how=asked, start 4@1
        7 ready 4   -> process_ready 4@1, terminate 3@1
        8 ended 3 0 -> process_ended 3@1 how=asked, start 5@2
        8 beat 4    ->
        9 ready 5   -> process_ready 5@2, terminate 2@2
        9 ended 2 0 -> process_ended 2@2 how=asked, restart_done
        """
    )


@pytest.mark.parametrize("code", [1, 2])
def test_a_new_one_that_does_not_become_ready_ends_the_restart(code: int) -> None:
    check(
        f"""{SERVING}
        3  restart        -> restart_begun, start 3@1
        4  ended 3 {code} -> process_ended 3@1 how=crashed next_start_seconds=0.0, restart_abandoned 3@1
        5  look           ->
        9  beat 1         ->
        9  beat 2         ->
        10 look           ->
        """
    )


def test_an_old_one_that_dies_during_a_restart_has_its_successor_already() -> None:
    check(
        f"""{SERVING}
        3 restart   -> restart_begun, start 3@1
        4 ended 1 1 -> process_ended 1@1 how=crashed next_start_seconds=0.0
        5 ready 3   -> process_ready 3@1, processes_ready, start 4@2
        """
    )


def test_a_restart_waits_until_all_serve() -> None:
    check(
        f"""{SERVING}
        3 ended 2 1 -> process_ended 2@2 how=crashed next_start_seconds=0.0, start 3@2
        4 restart   -> restart_begun
        5 ready 3   -> process_ready 3@2, processes_ready, start 4@1
        """
    )


def test_a_stop_ends_a_restart() -> None:
    check(
        f"""{SERVING}
        3 restart    -> restart_begun, start 3@1
        4 stop       -> terminate 1@1, terminate 2@2, terminate 3@1
        5 ended 3 -15 -> process_ended 3@1 how=asked
        5 ended 2 0  -> process_ended 2@2 how=asked
        5 ended 1 0  -> process_ended 1@1 how=asked, end 0
        """
    )


def test_nobody_is_killed_for_the_time_in_which_the_parent_did_not_look() -> None:
    rules = Rules.of(1, session_timeout_seconds=15)
    machine = check(
        """
        0    look    -> start 1@1
        1    ready 1 -> process_ready 1@1, processes_ready
        3600 look    ->
        3601 look    ->
        """,
        rules,
    )
    assert machine.silence() == pytest.approx(2.0)  # of an hour, in which the parent was stopped, one beat


@pytest.mark.parametrize("session_timeout_seconds", [15.0, 60.0, 0.8])
def test_a_hung_one_is_killed_before_its_sessions_time_out(session_timeout_seconds: float) -> None:
    rules = Rules.of(4, session_timeout_seconds)
    assert rules.hung_seconds == max(2.0, session_timeout_seconds * 2 / 3)
    assert rules.beat_seconds * 8 == pytest.approx(rules.silent_seconds)
    assert rules.blind_seconds == rules.beat_seconds


def test_a_restart_with_other_limits_judges_each_by_those_it_was_started_with() -> None:
    transcript = Transcript()
    transcript.of(normal(SERVING))
    transcript.machine.restart(3, replace(RULES, silent_seconds=2, hung_seconds=3))
    script = """
    4   ready 3 -> process_ready 3@1, terminate 1@1
    4   ended 1 0 -> process_ended 1@1 how=asked, start 4@2
    6   look    -> process_silent 3@1, stack 3@1
    7   look    -> kill 3@1, process_killed 3@1, start 5@1
    9   look    ->
    10  look    -> process_silent 2@2, stack 2@2
    """
    transcript._places[3] = 1
    assert transcript.of(normal(script)) == normal(script)
