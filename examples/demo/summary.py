"""What the demo tells at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from examples.demo.board import count_standings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from examples.demo.board import Board

VERDICTS = ("passed", "flaky", "test_failed")
LOG_LINES = 12


def print_summary(console: Console, board: Board, failed_logs: dict[str, str], wall_seconds: float) -> None:
    """Verdicts by org, what was retried, what failed and why, installs, and the time. `failed_logs` is by job id."""
    console.print()
    console.print(_verdicts(board))
    for job in board.with_outcome("flaky"):
        devices = " then ".join(f"{attempt.outcome} on {attempt.device_id}" for attempt in job.attempts)
        console.print(f"[yellow]flaky[/]   {board.name(job)}: {devices}", highlight=False, soft_wrap=True)
    for job in board.with_outcome("test_failed"):
        why = "" if job.error is None else job.error.message
        what = f"{board.name(job)}, {len(job.attempts)} attempts: {escape(why)}"
        console.print(f"[red]failed[/]  {what}", highlight=False, soft_wrap=True)
        for line in failed_logs.get(job.job_id, "").splitlines()[-LOG_LINES:]:
            console.print(f"        [dim]{escape(line)}[/]", highlight=False, soft_wrap=True)
    console.print()
    console.print(
        f"[bold]{board.installs} installs[/]; a farm that installs for every test does {board.attempts}. "
        f"Wall time [bold]{wall_seconds:.1f} s[/].",
        highlight=False,
        soft_wrap=True,
    )


def print_verdict(console: Console, problems: Sequence[str]) -> None:
    """Whether all went as expected, and what did not."""
    for problem in problems:
        console.print(f"[red]unexpected[/]  {escape(problem)}", highlight=False, soft_wrap=True)
    if not problems:
        console.print("[green]All went as expected, and nothing is left running.[/]")


def _verdicts(board: Board) -> Table:
    table = Table(title="verdicts", title_justify="left")
    table.add_column("org")
    for heading in ("jobs", *(verdict.replace("_", " ") for verdict in VERDICTS), "retries"):
        table.add_column(heading, justify="right")
    for org in sorted({job.org_id for job in board.jobs.values()}):
        jobs = [job for job in board.jobs.values() if job.org_id == org]
        counts = count_standings(jobs)
        retries = sum(job.retry_count for job in jobs)
        table.add_row(org, str(len(jobs)), *(str(counts[verdict]) for verdict in VERDICTS), str(retries))
    return table
