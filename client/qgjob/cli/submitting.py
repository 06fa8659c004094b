"""`submit` and `run`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob._enums import Target
from qgjob._errors import QgjobError
from qgjob._models import Bond, Job
from qgjob.cli import exit_codes, options
from qgjob.cli.blame import Wanted, in_flags, in_options
from qgjob.cli.ci_words import Ci
from qgjob.cli.options import Coordinator, OrgId, Output, PriorityOption, RunId, TargetOption
from qgjob.cli.runner import execute, process_environment, tell
from qgjob.cli.settings import Settings
from qgjob.cli.submission import Submission
from qgjob.cli.unserved import hints, unserved, warnings
from qgjob.cli.waiting import FailOnFlaky, Timeout, command_on

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.limit import Limit
    from qgjob.cli.printer import Printer
    from qgjob.cli.verdicts import Goal

app = typer.Typer()

MAX_REPEAT = 10_000
DISCONNECT_SECONDS = 60.0
RELEASE_SECONDS = 2.0
"""How long a command whose time is over tries to leave its run to itself."""

AppVersionId = Annotated[str | None, typer.Option(help="The app build.")]
Tests = Annotated[
    list[str] | None,
    typer.Option("--test", help="Path of a test file in the suite, or with --suite a glob; repeatable."),
]
Require = Annotated[
    list[str] | None,
    typer.Option(help="key=value that the device must have (platform, os_version, device_model, a label); repeatable."),
]
Matrix = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="JSON or TOML file with sets of requirements; each test is submitted once for each set."
    ),
]
DeviceId = Annotated[str | None, typer.Option(help="The one device to run on.")]
Label = Annotated[list[str] | None, typer.Option(help="key=value to annotate with; restricts nothing; repeatable.")]
Env = Annotated[list[str] | None, typer.Option(help="NAME=value for the test's environment; repeatable.")]
MaxRetries = Annotated[
    int | None,
    typer.Option(
        parser=options.number(),
        metavar="N",
        help="Retries after failures of the test. Default: the coordinator's. Those after failures of a device or "
        "an agent are counted apart, up to INFRA_MAX_RETRIES of the coordinator.",
    ),
]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        help="The same command with the same key gets the same jobs, for 24 hours. Each job's own key is made of this "
        "one, its test and its requirements."
    ),
]
NoDedup = Annotated[bool, typer.Option("--no-dedup", help="Make new jobs although equal ones are unfinished.")]
Repeat = Annotated[
    int | None,
    typer.Option(
        parser=options.number(1, MAX_REPEAT),
        metavar=f"1..{MAX_REPEAT}",
        help="Run each test so many times; implies --no-dedup.",
    ),
]
Supersede = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="One run at a time has this name, such as a branch: what the run before has unfinished is cancelled, but "
        "for what this one submits too. Without --run-id a run is made; one that is begun again needs a new id.",
    ),
]
Suite = Annotated[
    str | None,
    typer.Option(
        metavar="DIR",
        help="Folder of the test project that the tests are in: packed, sent once, and run from there wherever they "
        "run. Without it each agent has its own.",
    ),
]
QueueTimeout = Annotated[str | None, typer.Option(help="Expire a job that waits longer, as in 90s or 30m.")]
OverflowTarget = Annotated[
    Target | None,
    typer.Option(
        case_sensitive=False,
        help="Second class of device: a job goes there once when it would wait for the first one for longer than "
        "--overflow-after, and less long there.",
    ),
]
OverflowAfter = Annotated[
    str | None,
    typer.Option(help="How long a job may be expected to wait before it goes to --overflow-target, as in 2m."),
]
AttemptTimeout = Annotated[str | None, typer.Option(help="Hard limit of one attempt, as in 90s or 30m.")]


# Neither command has any; what stands there is told to be a test that lacks its option.
_TAKES_ARGUMENTS = {"allow_extra_args": True}


@dataclass(frozen=True)
class WaitOptions:
    """How the jobs are waited for."""

    timeout: str | None = None
    fail_fast: bool = False
    fail_on_flaky: bool = False
    cancel_on_interrupt: bool = False
    cancel_on_disconnect: bool = False
    disconnect_after: str | None = None
    artifacts: str | None = None
    junit: str | None = None
    ci: Ci = Ci.NONE

    def bond(self) -> Bond | None:
        """What binds the run to this command. Raises InvalidError naming the option."""
        if not self.cancel_on_disconnect:
            if self.disconnect_after is not None:
                raise options.usage("--disconnect-after", "goes with --cancel-on-disconnect")
            return None
        return Bond(options.seconds(self.disconnect_after, "--disconnect-after") or DISCONNECT_SECONDS)


@app.command(context_settings=_TAKES_ARGUMENTS)
def submit(
    context: typer.Context,
    org_id: OrgId = None,
    app_version_id: AppVersionId = None,
    test: Tests = None,
    priority: PriorityOption = None,
    target: TargetOption = None,
    run_id: RunId = None,
    require: Require = None,
    matrix: Matrix = None,
    device_id: DeviceId = None,
    label: Label = None,
    env: Env = None,
    max_retries: MaxRetries = None,
    idempotency_key: IdempotencyKey = None,
    no_dedup: NoDedup = False,
    repeat: Repeat = None,
    supersede: Supersede = None,
    suite: Suite = None,
    queue_timeout: QueueTimeout = None,
    overflow_target: OverflowTarget = None,
    overflow_after: OverflowAfter = None,
    attempt_timeout: AttemptTimeout = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdicts, as `run` does.")] = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Submit jobs and return at once. An equal job that is unfinished is answered instead of a new one."""
    _start(Submission.of(context), WaitOptions() if wait else None, output, coordinator)


@app.command(context_settings=_TAKES_ARGUMENTS)
def run(
    context: typer.Context,
    org_id: OrgId = None,
    app_version_id: AppVersionId = None,
    test: Tests = None,
    priority: PriorityOption = None,
    target: TargetOption = None,
    run_id: RunId = None,
    require: Require = None,
    matrix: Matrix = None,
    device_id: DeviceId = None,
    label: Label = None,
    env: Env = None,
    max_retries: MaxRetries = None,
    idempotency_key: IdempotencyKey = None,
    no_dedup: NoDedup = False,
    repeat: Repeat = None,
    supersede: Supersede = None,
    suite: Suite = None,
    queue_timeout: QueueTimeout = None,
    overflow_target: OverflowTarget = None,
    overflow_after: OverflowAfter = None,
    attempt_timeout: AttemptTimeout = None,
    timeout: Timeout = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Cancel the rest after the first failure.")] = False,
    fail_on_flaky: FailOnFlaky = False,
    cancel_on_interrupt: Annotated[
        bool,
        typer.Option(
            "--cancel-on-interrupt", help="Cancel the jobs on Ctrl-C or SIGTERM; a second one leaves at once."
        ),
    ] = False,
    cancel_on_disconnect: Annotated[
        bool,
        typer.Option(
            "--cancel-on-disconnect",
            help="Have the run cancelled when this command is gone, however it ends; on Ctrl-C or SIGTERM at once.",
        ),
    ] = False,
    disconnect_after: Annotated[
        str | None,
        typer.Option(help=f"How long nothing was heard of a command that is gone. Default: {DISCONNECT_SECONDS:g}s."),
    ] = None,
    artifacts: Annotated[
        str | None, typer.Option(metavar="DIR", help="Fetch what the attempts left to DIR/JOB/ATTEMPT.")
    ] = None,
    junit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write a JUnit report, retries as reruns; see `qgjob report`.")
    ] = None,
    ci: Annotated[
        Ci,
        typer.Option(
            case_sensitive=False,
            help="Tell the CI: github (annotations, step summary), gitlab (a section of the log), none. "
            "auto: the one that the command runs in.",
        ),
    ] = Ci.AUTO,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Submit jobs and wait for their verdicts; the exit code tells them (see `qgjob wait --help`)."""
    waiting = WaitOptions(
        timeout,
        fail_fast,
        fail_on_flaky,
        cancel_on_interrupt,
        cancel_on_disconnect,
        disconnect_after,
        artifacts,
        junit,
        ci,
    )
    _start(Submission.of(context), waiting, output, coordinator)


def _start(given: Submission, waiting: WaitOptions | None, output: str | None, coordinator: str | None) -> None:
    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> int | None:
        from qgjob._wire_jobs import read_jobs  # noqa: PLC0415 - keeps `--help` quick
        from qgjob.cli.interrupting import submitted  # noqa: PLC0415
        from qgjob.cli.limit import Limit  # noqa: PLC0415
        from qgjob.cli.render import job_table  # noqa: PLC0415
        from qgjob.cli.verdicts import await_verdicts, print_jobs  # noqa: PLC0415

        limit = Limit.from_now(waiting.timeout if waiting else None)
        bond = waiting.bond() if waiting else None
        submission = given.with_run(bound=bond is not None)
        try:
            async with limit.block():
                wanted = await _with_suite(client, submission, settings)
        except TimeoutError:
            tell("error: --timeout: is over before the suite was sent; nothing was submitted")
            return exit_codes.TIMEOUT
        org_id = wanted[0].spec.org_id
        run = (org_id, submission.run_id) if submission.run_id else None
        ended = _ended(client, waiting, wanted, settings, submission)

        def goal_of(jobs: Sequence[Job]) -> "Goal":
            goal = _goal(client, jobs, waiting or WaitOptions(), run, coordinator)
            return replace(goal, limit=limit, bond=bond, ended=ended)

        async with _life(client, org_id, submission.run_id, bond, limit):
            try:
                specs = [each.spec for each in wanted]
                submitting = client._submitting(specs, "full", bond)  # noqa: SLF001 - of this package
                try:
                    jobs = await submitted(client, submitting, goal_of, limit)
                except (asyncio.CancelledError, QgjobError) as error:
                    if isinstance(error, asyncio.CancelledError) or submitting.begun:
                        printer.cut_short("jobs", read_jobs(submitting.answered))
                    raise
                except TimeoutError:
                    print_jobs(printer, read_jobs(submitting.answered))
                    return exit_codes.TIMEOUT
            except QgjobError as error:
                raise in_flags(error, wanted, org_is_flag=bool(submission.org_id)) from error
            if waiting is not None:
                _tell_known(printer, jobs)
                return await await_verdicts(
                    client, printer, goal_of(jobs), jobs, lambda: _tell_hints(client, unserved(jobs))
                )
        never = unserved(jobs)
        printer.many("jobs", jobs, job_table)
        _tell_known(printer, jobs)
        for line in warnings(never):  # whoever waits is told of each job by the progress
            tell(line)
        await _tell_hints(client, never)
        return None

    timeout = waiting.timeout if waiting else None
    execute(work, output=output, coordinator=coordinator, patient=True, waits=waiting is not None, timeout=timeout)


def _ended(
    client: "AsyncClient",
    waiting: WaitOptions | None,
    wanted: Sequence[Wanted],
    settings: Settings,
    submission: Submission,
) -> Callable[[Sequence[Job]], Awaitable[int]] | None:
    """What is done with the jobs at their end, if anything is. Raises InvalidError for where it can't be put."""
    if waiting is None or (waiting.ci is Ci.NONE and waiting.artifacts is None and waiting.junit is None):
        return None
    from qgjob.cli.afterwards import Outputs, afterwards  # noqa: PLC0415 - only who wants a report pays for it

    secrets = [settings.token, *(value for each in wanted for value in (each.spec.env or {}).values())]
    environment, suite = process_environment(), submission.suite
    outputs = Outputs.of(waiting.artifacts, waiting.junit, waiting.ci, secrets, environment, suite)
    title = submission.run_id or wanted[0].spec.org_id
    return (lambda jobs: afterwards(client, jobs, outputs, title)) if outputs.wanted else None


async def _with_suite(client: "AsyncClient", submission: Submission, settings: Settings) -> list[Wanted]:
    """The jobs; their suite is pushed, where there is one. Raises InvalidError naming the option."""
    if submission.suite is None:
        return submission.wanted(settings)
    from qgjob._suite_archive import PackedSuite  # noqa: PLC0415 - only who has one pays for it
    from qgjob.cli.suites import TYPED, push_told  # noqa: PLC0415

    try:
        with await PackedSuite.of(submission.suite) as packed:
            wanted = submission.wanted(settings, packed)
            await push_told(client, wanted[0].spec.org_id, packed)
    except QgjobError as error:
        raise in_options(error, dict.fromkeys(TYPED, "--suite")) from error
    return wanted


def _tell_known(printer: "Printer", jobs: Sequence[Job]) -> None:
    """How many jobs are not new: the table may lack the room to say so, JSON has it."""
    known = sum(bool(job.deduplicated) for job in jobs)
    if known and printer.output == "table":
        tell(f"{known} of {len(jobs)} {'was' if known == 1 else 'were'} there already: an equal job is unfinished")


async def _tell_hints(client: "AsyncClient", jobs: Sequence[Job]) -> None:
    for line in await hints(client, jobs):
        tell(line)


@asynccontextmanager
async def _life(
    client: "AsyncClient", org_id: str, run_id: str | None, bond: Bond | None, limit: "Limit"
) -> AsyncGenerator[None]:
    """A block in which this command shows that it lives, if the run is bound to it."""
    if bond is None or run_id is None:
        yield
        return
    done = False
    try:
        async with asyncio.timeout(None) as ending, client.kept(org_id, run_id, bond, on_trouble=_tell_of_sign):
            yield
            done = True
            if limit.over:  # who set a limit waits no longer than that for a coordinator that is away
                ending.reschedule(asyncio.get_running_loop().time() + RELEASE_SECONDS)
    except TimeoutError:
        tell(
            f"run {run_id} stays bound to this command: what it has unfinished is cancelled in {bond.after_seconds:g} s"
        )
    except QgjobError as error:
        if not done:
            raise
        # The verdicts are there, and what they say is the exit code.
        tell(f"{error.message}; what run {run_id} has unfinished is cancelled in {bond.after_seconds:g} s")


def _tell_of_sign(error: QgjobError) -> None:
    tell(f"the coordinator did not take a sign of life of this command, the next one follows: {error.message}")


def _goal(
    client: "AsyncClient",
    jobs: Sequence[Job],
    waiting: WaitOptions,
    run: tuple[str, str] | None,
    coordinator: str | None,
) -> "Goal":
    from qgjob.cli.verdicts import Goal  # noqa: PLC0415 - keeps `--help` quick

    ids = tuple(dict.fromkeys(job.job_id for job in jobs))
    return Goal(
        follow=lambda: client.follow(ids),
        resume=command_on("wait", ids, run, coordinator),
        total=len(ids),
        run=run,
        own=tuple(job.job_id for job in jobs if not job.deduplicated),
        fail_fast=waiting.fail_fast,
        fail_on_flaky=waiting.fail_on_flaky,
        cancel_on_interrupt=waiting.cancel_on_interrupt or waiting.cancel_on_disconnect,
        coordinator=coordinator,
    )
