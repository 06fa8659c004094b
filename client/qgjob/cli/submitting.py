"""`submit` and `run`."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Annotated

import typer

from qgjob._errors import QgjobError
from qgjob._ids import new_run_id
from qgjob._models import Job, JobSpec
from qgjob.cli import options
from qgjob.cli.blame import Wanted, in_flags
from qgjob.cli.options import Coordinator, OrgId, Output, PriorityOption, RunId, TargetOption
from qgjob.cli.requirements import from_flags
from qgjob.cli.runner import execute, org_of, tell
from qgjob.cli.settings import Settings
from qgjob.cli.unserved import hints, unserved, warnings
from qgjob.cli.waiting import FailOnFlaky, Timeout, resume_command

if TYPE_CHECKING:
    from qgjob._client import AsyncClient
    from qgjob.cli.printer import Printer

app = typer.Typer()

MAX_REPEAT = 10_000

AppVersionId = Annotated[str | None, typer.Option(help="The app build.")]
Tests = Annotated[list[str] | None, typer.Option("--test", help="Path of a test file in the suite; repeatable.")]
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
MaxRetries = Annotated[int | None, typer.Option(help="Retries after failures of the test. Default: the coordinator's.")]
IdempotencyKey = Annotated[
    str | None,
    typer.Option(
        help="The same command with the same key gets the same jobs, for 24 hours. Each job's own key is made of this "
        "one, its test and its requirements."
    ),
]
NoDedup = Annotated[bool, typer.Option("--no-dedup", help="Make new jobs although equal ones are unfinished.")]
Repeat = Annotated[
    int | None, typer.Option(min=1, max=MAX_REPEAT, help="Run each test so many times; implies --no-dedup.")
]
Supersede = Annotated[
    str | None,
    typer.Option(
        metavar="KEY",
        help="One run at a time has this name, such as a branch: what the run before has unfinished is cancelled, but "
        "for what this one submits too. Without --run-id a run is made.",
    ),
]
QueueTimeout = Annotated[str | None, typer.Option(help="Expire a job that waits longer, as in 90s or 30m.")]
AttemptTimeout = Annotated[str | None, typer.Option(help="Hard limit of one attempt, as in 90s or 30m.")]


@dataclass(frozen=True)
class Submission:
    """What the two commands have in common: their options as given."""

    org_id: str | None
    app_version_id: str | None
    test: list[str] | None
    priority: str | None
    target: str | None
    run_id: str | None
    require: list[str] | None
    matrix: str | None
    device_id: str | None
    label: list[str] | None
    env: list[str] | None
    max_retries: int | None
    idempotency_key: str | None
    no_dedup: bool
    repeat: int | None
    supersede: str | None
    queue_timeout: str | None
    attempt_timeout: str | None

    @classmethod
    def of(cls, context: typer.Context) -> "Submission":
        """The options of the command that is run."""
        return cls(**{each.name: context.params[each.name] for each in fields(cls)})

    def with_run(self) -> "Submission":
        """With a run where it needs one and names none, which is told."""
        if self.supersede is None or self.run_id is not None:
            return self
        made = new_run_id()
        tell(f"this is run {made}")
        return replace(self, run_id=made)

    def wanted(self, settings: Settings) -> list[Wanted]:
        """A job for each test, set of the matrix and repetition, in this order.

        Raises InvalidError naming the option.
        """
        if not self.test:
            raise options.usage("--test", "is required; name at least one test file")
        template = JobSpec(
            org_id=org_of(self.org_id, settings),
            app_version_id=options.required(self.app_version_id, "--app-version-id"),
            test_path="",
            priority=self.priority,
            run_id=self.run_id,
            supersede=self.supersede,
            labels=options.pairs(self.label or (), "--label"),
            env=options.pairs(self.env or (), "--env"),
            max_retries=self.max_retries,
            timeout_seconds=options.seconds(self.attempt_timeout, "--attempt-timeout"),
            queue_timeout_seconds=options.seconds(self.queue_timeout, "--queue-timeout"),
            no_dedup=self.no_dedup or self.repeat is not None,
        )
        sets = self._for_sets(template)
        wanted = [
            replace(each, spec=replace(each.spec, test_path=path))
            for path in self.test
            for each in sets
            for _ in range(self.repeat or 1)
        ]
        if self.idempotency_key is None:
            return wanted
        from qgjob.cli.keys import with_own_keys  # noqa: PLC0415 - only who has a key pays for it

        specs = with_own_keys(self.idempotency_key, [each.spec for each in wanted])
        return [replace(each, spec=spec) for each, spec in zip(wanted, specs, strict=True)]

    def _for_sets(self, template: JobSpec) -> list[Wanted]:
        """The template for what the options ask for; with a matrix, for each of its sets together with them."""
        shared = from_flags(self.require or (), self.device_id)
        if self.matrix is None:
            return [Wanted(replace(template, requirements=shared, target=self.target))]
        from qgjob.cli.matrix import merged, read_matrix  # noqa: PLC0415 - only who has one pays for it

        written = read_matrix(self.matrix)
        return [
            Wanted(replace(template, requirements=each.requirements, target=each.target), self.matrix, own)
            for each, own in zip(merged(self.matrix, written, shared, self.target), written, strict=True)
        ]


@dataclass(frozen=True)
class WaitOptions:
    """How the jobs are waited for."""

    timeout: str | None = None
    fail_fast: bool = False
    fail_on_flaky: bool = False
    cancel_on_interrupt: bool = False


@app.command()
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
    queue_timeout: QueueTimeout = None,
    attempt_timeout: AttemptTimeout = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the verdicts, as `run` does.")] = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Submit jobs and return at once. An equal job that is unfinished is answered instead of a new one."""
    _start(Submission.of(context), WaitOptions() if wait else None, output, coordinator)


@app.command()
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
    queue_timeout: QueueTimeout = None,
    attempt_timeout: AttemptTimeout = None,
    timeout: Timeout = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Cancel the rest after the first failure.")] = False,
    fail_on_flaky: FailOnFlaky = False,
    cancel_on_interrupt: Annotated[
        bool, typer.Option("--cancel-on-interrupt", help="Cancel the jobs on Ctrl-C or SIGTERM.")
    ] = False,
    output: Output = None,
    coordinator: Coordinator = None,
) -> None:
    """Submit jobs and wait for their verdicts; the exit code tells them (see `qgjob wait --help`)."""
    waiting = WaitOptions(timeout, fail_fast, fail_on_flaky, cancel_on_interrupt)
    _start(Submission.of(context), waiting, output, coordinator)


def _start(given: Submission, waiting: WaitOptions | None, output: str | None, coordinator: str | None) -> None:
    async def work(client: "AsyncClient", printer: "Printer", settings: Settings) -> int | None:
        timeout_seconds = options.seconds(waiting.timeout, "--timeout") if waiting else None
        submission = given.with_run()
        wanted = submission.wanted(settings)
        try:
            jobs = await client.submit_many([each.spec for each in wanted])
        except QgjobError as error:
            raise in_flags(error, wanted, org_is_flag=bool(submission.org_id)) from error
        if waiting is None:
            never = unserved(jobs)
            from qgjob.cli.render import job_table  # noqa: PLC0415 - keeps `--help` quick

            printer.many("jobs", jobs, job_table)
            for line in warnings(never):  # whoever waits is told of each job by the progress
                tell(line)
            await _tell_hints(client, never)
            return None
        return await _wait(client, printer, jobs, waiting, timeout_seconds, submission.run_id, coordinator)

    execute(work, output=output, coordinator=coordinator, patient=True)


async def _tell_hints(client: "AsyncClient", jobs: Sequence[Job]) -> None:
    for line in await hints(client, jobs):
        tell(line)


async def _wait(
    client: "AsyncClient",
    printer: "Printer",
    jobs: Sequence[Job],
    waiting: WaitOptions,
    timeout_seconds: float | None,
    run_id: str | None,
    coordinator: str | None,
) -> int:
    from qgjob.cli.verdicts import Goal, await_verdicts  # noqa: PLC0415 - keeps `--help` quick

    ids = tuple(dict.fromkeys(job.job_id for job in jobs))
    run = (jobs[0].org_id, run_id) if run_id else None
    goal = Goal(
        follow=lambda: client.follow(ids),
        resume=resume_command(ids, run, coordinator),
        total=len(ids),
        run=run,
        own=tuple(job.job_id for job in jobs if not job.deduplicated),
        timeout_seconds=timeout_seconds,
        fail_fast=waiting.fail_fast,
        fail_on_flaky=waiting.fail_on_flaky,
        cancel_on_interrupt=waiting.cancel_on_interrupt,
    )
    return await await_verdicts(client, printer, goal, jobs, lambda: _tell_hints(client, unserved(jobs)))
