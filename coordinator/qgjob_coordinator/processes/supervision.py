"""When a process is started, asked to end, or killed. Decided here, carried out by `parent`.

There are as many *places* as processes were asked for. A place is filled by one *life* of a process at a time, or by
two while a restart is under way: the old one serves until the new one is ready.

- A life whose event loop was not heard for `hung_seconds` is killed, and its place filled again. Before that it is
  asked to show where it hangs.
- The first place is filled alone, and the others when it served: what keeps the program from starting is said once.
- A life that ends by itself is replaced: the first time at once, then with growing pauses, until one lasts.
- A wrong setting (exit 2) or START_TRIES failures, before anything ever served, end the whole.
- A restart replaces one place after the other, each when all are ready. A new life that fails ends the restart: what
  serves is left alone.

Time is this machine's own: while nobody calls it, as when the parent itself was stopped, at most `blind_seconds` pass.
Nobody is killed for what the parent did not hear because it did not listen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum

from qgjob_coordinator.processes.instructions import End, Instruction, Kill, Level, Say, ShowStack, Start, Terminate

EXIT_OK = 0
EXIT_FAILED = 1
"""Also of a life that could not even be started."""
EXIT_USAGE = 2
START_TRIES = 3
BEATS_UNTIL_HUNG = 10


class How(Enum):
    """How a life ended."""

    ASKED = "asked"
    CRASHED = "crashed"
    HUNG = "hung"


@dataclass(frozen=True, slots=True)
class Rules:
    """How many processes, and seconds to wait for what."""

    processes: int
    silent_seconds: float = 8.0
    hung_seconds: float = 10.0
    start_seconds: float = 60.0
    """Until the first beat: modules are imported meanwhile."""
    stop_seconds: float = 30.0
    stable_seconds: float = 60.0
    """A life that served for so long is no failure of its place."""
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0
    blind_seconds: float = 1.0

    @property
    def beat_seconds(self) -> float:
        """How often a process is to be heard."""
        return self.hung_seconds / BEATS_UNTIL_HUNG

    @classmethod
    def of(cls, processes: int, session_timeout_seconds: float) -> Rules:
        """A hung process is replaced before its agents' sessions time out: a third of that is left for the start."""
        hung = max(2.0, session_timeout_seconds * 2 / 3)
        return cls(processes, silent_seconds=hung * 0.8, hung_seconds=hung, blind_seconds=hung / BEATS_UNTIL_HUNG)

    def pause(self, failures: int) -> float:
        """Before the start that follows so many failures in a row."""
        if failures <= 1:
            return 0.0
        return min(self.longest_pause_seconds, self.first_pause_seconds * 2.0 ** min(failures - 2, 30))


@dataclass(slots=True)
class _Life:
    number: int
    place: int
    generation: int
    heard_at: float
    rules: Rules
    beats: bool = False
    ready_at: float | None = None
    asked_at: float | None = None
    shown: bool = False
    killed: bool = False
    replaces: bool = False
    """It was started while another one served in its place."""

    @property
    def stays(self) -> bool:
        return self.asked_at is None and not self.killed


class Supervision:
    """The decisions. Every method takes the time of a clock that never goes back, and answers what to do, in order."""

    def __init__(self, rules: Rules) -> None:
        self.ends: Counter[How] = Counter()
        self._rules = rules
        self._lives: dict[int, _Life] = {}
        self._count = 0
        self._generation = 0
        self._restarting = False
        self._served = False
        self._all_ready = False
        self._failures = dict.fromkeys(range(1, rules.processes + 1), 0)
        self._not_before = dict.fromkeys(self._failures, 0.0)
        self._exit_code: int | None = None
        self._time = 0.0
        self._called_at: float | None = None
        self._todo: list[Instruction] = []

    def states(self) -> dict[str, int]:
        """How many are starting, serving and ending."""
        staying = sum(x.stays for x in self._lives.values())
        serving = self._serving()
        return {"starting": staying - serving, "serving": serving, "ending": len(self._lives) - staying}

    def silence(self) -> float:
        """For how long the event loop of one that serves was not heard: the longest of these times, in seconds."""
        return max((self._time - x.heard_at for x in self._lives.values() if x.beats and x.stays), default=0.0)

    # What happens.

    def look(self, now: float) -> list[Instruction]:
        """Time has passed. To be called several times a second; the first call starts everything."""
        self._pass(now)
        return self._decide()

    def beat(self, life: int, now: float, *, ready: bool) -> list[Instruction]:
        """Its event loop was heard; `ready`: it serves, or did."""
        self._pass(now)
        x = self._lives[life]
        x.heard_at, x.beats, x.shown = self._time, True, False
        if ready and x.ready_at is None:
            x.ready_at = self._time
            self._served = True
            self._say("info", "process_ready", x)
        return self._decide()

    def ended(self, life: int, exit_code: int, now: float) -> list[Instruction]:
        """It is gone; the code is negative for a signal's number."""
        self._pass(now)
        x = self._lives.pop(life)
        if x.killed:
            return self._decide()  # accounted for when it was
        if x.asked_at is not None:
            self.ends[How.ASKED] += 1
            self._say("info", "process_ended", x, how=How.ASKED.value, exit_code=exit_code)
            return self._decide()
        if exit_code == EXIT_USAGE and not self._served:
            self._give_up(EXIT_USAGE)
            return self._decide()
        self._failed(x, How.CRASHED, exit_code=exit_code)
        return self._decide()

    def restart(self, now: float, rules: Rules | None = None) -> list[Instruction]:
        """All that were started before are to be replaced, one after the other.

        `rules`, for as many processes, hold for what is started from now on: the others go on under those they know.
        """
        self._pass(now)
        self._rules = rules or self._rules
        self._generation += 1
        self._restarting = True
        self._say("info", "restart_begun")
        return self._decide()

    def stop(self, now: float) -> list[Instruction]:
        """All are to end, at the same time: one that ends alone would send its agents to others that end next."""
        self._pass(now)
        if self._exit_code is None:
            self._exit_code = EXIT_OK
        return self._decide()

    # What follows.

    def _pass(self, now: float) -> None:
        if self._called_at is not None:
            blind = min((x.rules.blind_seconds for x in self._lives.values()), default=self._rules.blind_seconds)
            self._time += max(0.0, min(now - self._called_at, blind))
        self._called_at = now

    def _decide(self) -> list[Instruction]:
        for x in list(self._lives.values()):
            self._kill_if_overdue(x)
        if self._exit_code is not None:
            for x in self._lives.values():
                self._ask(x)
            if not self._lives:
                self._todo.append(End(self._exit_code))
        else:
            for place in self._failures if self._served else (1,):
                self._fill(place)
            self._tell_all_ready()
            self._go_on_restarting()
        todo, self._todo = self._todo, []
        return todo

    def _kill_if_overdue(self, x: _Life) -> None:
        if x.killed:
            return
        silent = self._time - x.heard_at
        if silent >= (x.rules.hung_seconds if x.beats else x.rules.start_seconds):
            why = "its event loop was not heard" if x.beats else "it did not start"
            self._kill(x, why, silent)
        elif x.asked_at is not None and self._time - x.asked_at >= x.rules.stop_seconds:
            self._kill(x, "it did not end", self._time - x.asked_at)
        elif x.beats and not x.shown and silent >= x.rules.silent_seconds:
            x.shown = True
            # Said first: the process writes its stacks bit by bit, and a line that came meanwhile would cut them.
            self._say("warning", "process_silent", x, seconds=round(silent, 1))
            self._todo.append(ShowStack(x.number))

    def _kill(self, x: _Life, why: str, seconds: float) -> None:
        x.killed = True
        self._todo.append(Kill(x.number))
        self._say("error", "process_killed", x, why=why, seconds=round(seconds, 1))
        if x.asked_at is None:
            self._failed(x, How.HUNG)
        else:
            self.ends[How.HUNG] += 1

    def _failed(self, x: _Life, how: How, **fields: object) -> None:
        """A life ended that was not asked to."""
        self.ends[how] += 1
        if x.ready_at is not None and self._time - x.ready_at >= self._rules.stable_seconds:
            self._failures[x.place] = 0
        self._failures[x.place] += 1
        pause = self._rules.pause(self._failures[x.place])
        self._not_before[x.place] = self._time + pause
        if how is How.CRASHED:
            self._say("error", "process_ended", x, how=how.value, **fields, next_start_seconds=pause)
        if x.replaces and x.ready_at is None and self._restarting:
            self._restarting = False
            self._say("error", "restart_abandoned", x, note="what served before goes on with what it was started with")
        if not self._served and self._failures[x.place] >= START_TRIES:
            self._give_up(EXIT_FAILED)

    def _give_up(self, exit_code: int) -> None:
        if self._exit_code is None:
            self._exit_code = exit_code

    def _fill(self, place: int) -> None:
        """One life in a place, and of two that are ready the new one."""
        stay = [x for x in self._lives.values() if x.place == place and x.stays]
        if not stay and self._time >= self._not_before[place]:
            self._start(place, replaces=False)
        elif len(stay) > 1 and stay[-1].ready_at is not None:
            for x in stay[:-1]:
                self._ask(x)

    def _go_on_restarting(self) -> None:
        if not self._restarting or self._serving() < self._rules.processes or len(self._lives) > self._rules.processes:
            return
        old = min((x.place for x in self._lives.values() if x.generation < self._generation), default=None)
        if old is not None:
            self._start(old, replaces=True)
        else:
            self._restarting = False
            self._say("info", "restart_done")

    def _serving(self) -> int:
        return sum(x.ready_at is not None and x.stays for x in self._lives.values())

    def _tell_all_ready(self) -> None:
        ready = self._serving() >= self._rules.processes
        if ready and not self._all_ready:
            self._say("info", "processes_ready", processes=self._rules.processes)
        self._all_ready = ready

    def _start(self, place: int, *, replaces: bool) -> None:
        self._count += 1
        self._lives[self._count] = _Life(
            self._count, place, self._generation, self._time, self._rules, replaces=replaces
        )
        self._todo.append(Start(self._count, place))

    def _ask(self, x: _Life) -> None:
        if x.stays:
            x.asked_at = self._time
            self._todo.append(Terminate(x.number))

    def _say(self, level: Level, event: str, life: _Life | None = None, **fields: object) -> None:
        number, place = (None, None) if life is None else (life.number, life.place)
        self._todo.append(Say(level, event, number, tuple(fields.items()), place))
