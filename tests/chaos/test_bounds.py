"""The page on reliability has the bounds and the rules that the checker has, and no other ones."""

from __future__ import annotations

import pytest

from bench.processes import ROOT
from tests.chaos.bounds import BOUNDS, MOST_MIB, Bound, bound_of
from tests.chaos.breakages import BREAKAGES
from tests.chaos.checker import RULES
from tests.chaos.scale import Scale
from tests.chaos.schedule import Kind
from tests.fakes.stack import Times
from tests.fakes.waiting import BUSY_SECONDS

PAGE = (ROOT / "docs" / "reliability" / "README.md").read_text()


def rows(after: str) -> list[list[str]]:
    """The cells of the table that begins with this line."""
    lines = PAGE.partition(f"{after}\n")[2].splitlines()[1:]
    table = lines[: next(i for i, line in enumerate(lines) if not line.startswith("|"))]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table]


def test_the_table_of_bounds_is_what_the_checker_judges_by() -> None:
    expected = [[", ".join(f"`{kind}`" for kind in b.after), b.what, b.text] for b in BOUNDS]
    memory = [f"`{Kind.SLOW_WATCHER}`", "memory of the coordinator", f"+ {MOST_MIB:g} MiB"]
    assert rows("| after | what | bound |") == [*expected, memory]


def test_the_table_of_rules_is_what_the_checker_does() -> None:
    assert [row[0] for row in rows("| rule | promise |")] == [f"`{rule.__name__}`" for rule in RULES]


def test_the_table_of_breakages_is_what_can_be_taken_away() -> None:
    expected = [[f"`{name}`", breakage.breaks, f"`{breakage.seen_by}`"] for name, breakage in BREAKAGES.items()]
    assert rows("| taken away | what happens then | seen by |") == expected
    assert {breakage.seen_by for breakage in BREAKAGES.values()} <= {rule.__name__ for rule in RULES}


def test_every_row_of_the_numbers_names_a_rule() -> None:
    names = {f"`{rule.__name__}`" for rule in RULES}
    for number, by in rows("| number | rule |"):
        assert {word.strip() for word in by.split(",")} <= names, number


@pytest.mark.parametrize(
    ("text", "as_shipped", "scaled"),
    [("S", 15.0, 3.0), ("2 S", 30.0, 6.0), ("A + S", 75.0, 15.0), ("S + heartbeat", 20.0, 4.0), ("10 s", 10.0, 2.0)],
)
def test_a_bound_scales_with_the_times_of_the_product(text: str, as_shipped: float, scaled: float) -> None:
    bound = Bound((), "", text)
    assert bound.seconds(Scale(1.0)) == pytest.approx(as_shipped)
    assert bound.seconds(Scale(0.2)) == pytest.approx(scaled)


@pytest.mark.parametrize(
    ("text", "seconds"), [("A + S", 7.5), ("S + heartbeat", 1.8), ("10 s", 10.0), ("grace + 2 s of work", 2.3)]
)
def test_a_stack_has_its_times_but_the_constants_of_the_product(text: str, seconds: float) -> None:
    times = Times(heartbeat=0.3, session=1.5, lease=6.0)
    assert Bound((), "", text).within(times) == pytest.approx(seconds + BUSY_SECONDS)


def test_what_ends_a_tree_takes_what_it_takes() -> None:
    assert Bound((), "", "grace + 2 s of work").seconds(Scale(0.2)) == pytest.approx(2.3)


@pytest.mark.parametrize("text", ["", "soon", "S and a heartbeat", "A - S", "10 ms"])
def test_a_bound_that_nobody_can_compute_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a bound is a sum of"):
        Bound((), "", text).seconds(Scale())


def test_one_kind_of_fault_has_one_bound_for_one_thing() -> None:
    found = [(kind, bound.what) for bound in BOUNDS for kind in bound.after]
    assert len(found) == len(set(found))
    assert all(bound_of(kind, bound.what) is bound for bound in BOUNDS for kind in bound.after)
    assert bound_of(Kind.STORE_KILL, "its agents are served") is None
