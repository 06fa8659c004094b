"""`submit` and `run`: their options."""

from typing import Annotated

import typer

from qgjob._enums import Target
from qgjob.cli import options
from qgjob.cli.ci_words import Ci
from qgjob.cli.options import Coordinator, OrgId, Output, PriorityOption, RunId, TargetOption
from qgjob.cli.starting import DISCONNECT_SECONDS, WaitOptions, start
from qgjob.cli.submission import Submission
from qgjob.cli.waiting import FailOnFlaky, Timeout

app = typer.Typer()

MAX_REPEAT = 10_000

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
    start(Submission.of(context), WaitOptions() if wait else None, output, coordinator)


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
    start(Submission.of(context), waiting, output, coordinator)
