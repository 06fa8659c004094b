"""What the demo tells at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from examples.appwright_demo.cloud import SESSIONS
from examples.appwright_demo.figures import attempts_by_device, busy_shares, passed_tests, wall_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from examples.appwright_demo.compare import Found
    from examples.appwright_demo.figures import Expected


def print_ways(console: Console, found: Found, emulators: int) -> None:
    """Each way to run the tests, beside the others; then what each emulator did."""
    table = Table(title="the same tests, on the same stand-ins", title_justify="left")
    for heading in ("", "on", "tests", "installs", "uploads", "wall time"):
        table.add_column(heading, justify="left" if heading in ("", "on") else "right")
    plain, cloud = found.plain, found.plain_cloud
    sessions, by_itself, ours = f"{SESSIONS} sessions", "AppWright by itself", "qgjob"
    table.add_row(by_itself, "1 emulator", str(plain.tests), str(plain.installs), "", _seconds(plain.wall_seconds))
    tests, wall = str(passed_tests(found.jobs)), _seconds(wall_seconds(found.jobs))
    table.add_row(ours, f"{emulators} emulators", tests, str(found.installs), "", wall)
    table.add_section()
    table.add_row(by_itself, sessions, str(cloud.tests), "", str(cloud.installs), _seconds(cloud.wall_seconds))
    tests = str(sum(map(passed_tests, found.cloud_runs)))
    wall = _seconds(sum(map(wall_seconds, found.cloud_runs)))
    table.add_row(ours, sessions, tests, "", str(found.account.uploads.total()), wall)
    console.print(table)
    devices = attempts_by_device(found.jobs)
    for device, share in busy_shares(found.jobs).items():
        console.print(f"{device}: {len(devices[device])} files, busy for {share:.0%} of the time", highlight=False)


def _seconds(value: float) -> str:
    return f"{value:.1f} s"


def print_installs(console: Console, found: Found) -> None:
    """As the stand-ins counted them, and as the product told them."""
    account, plain = found.account, found.plain
    uploads = account.uploads.total()
    console.print(
        f"[bold]{found.installs} installs[/] counted by the emulators, {found.told_installs} told by the product; "
        f"AppWright by itself made {plain.installs}.\n"
        f"[bold]{uploads} upload{'s' * (uploads != 1)}[/] for {len(account.sessions)} sessions, {account.most_at_once} "
        f"at once, counted by the cloud, {found.told_uploads} told by the product; AppWright by itself made "
        f"{found.plain_cloud.installs}.",
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
