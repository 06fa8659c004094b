"""What the demo tells at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from examples.appwright_demo.figures import attempts_by_device, busy_shares, passed_tests, wall_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from examples.appwright_demo.figures import Expected
    from examples.appwright_demo.plain import Plain
    from qgjob import Job


def print_table(console: Console, jobs: Sequence[Job], counted: int, plain: Plain) -> None:
    """Both ways beside each other; installations as devices `counted` them. Then what each device did."""
    table = Table(title="the same tests, on the same emulators", title_justify="left")
    for heading in ("", "devices", "tests", "installs", "wall time"):
        table.add_column(heading, justify="left" if not heading else "right")
    devices = attempts_by_device(jobs)
    wall = wall_seconds(jobs)
    table.add_row("AppWright by itself", "1", str(plain.tests), str(plain.installs), f"{plain.wall_seconds:.1f} s")
    table.add_row("qgjob", str(len(devices)), str(passed_tests(jobs)), str(counted), f"{wall:.1f} s")
    console.print(table)
    for device, share in busy_shares(jobs).items():
        files = len(devices[device])
        console.print(f"{device}: {files} files, busy for {share:.0%} of the time", highlight=False)


def print_installs(console: Console, counted: int, told: int, plain: Plain) -> None:
    """As the devices `counted` them, and as the product `told` them."""
    console.print(
        f"[bold]{counted} installs[/] counted by the devices, {told} told by the product; "
        f"AppWright by itself made {plain.installs}.",
        highlight=False,
        soft_wrap=True,
    )


def print_expected(console: Console, expected: Sequence[Expected], *, every: bool) -> None:
    """What was looked at; only what is not as expected, unless `every`."""
    for each in expected:
        if every or not each.holds:
            mark = "[green]ok[/]        " if each.holds else "[red]unexpected[/]"
            text = escape(f"{each.what}: {each.found} (wanted: {each.wanted})")
            console.print(f"{mark}  {text}", highlight=False, soft_wrap=True)


def print_verdict(console: Console, expected: Sequence[Expected], seconds: float) -> int:
    """Whether all is as expected; gives the exit code."""
    wrong = sum(not each.holds for each in expected)
    verdict = f"[red]{wrong} of {len(expected)} are not as expected.[/]" if wrong else "[green]All is as expected.[/]"
    console.print(f"{verdict} ({seconds:.0f} s)", highlight=False)
    return 1 if wrong else 0
