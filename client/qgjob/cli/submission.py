"""What the options of `submit` and `run` ask for: jobs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

import typer

from qgjob._ids import new_run_id
from qgjob._models import JobSpec
from qgjob.cli import options
from qgjob.cli.blame import Wanted
from qgjob.cli.requirements import from_flags
from qgjob.cli.runner import org_of, tell
from qgjob.cli.settings import Settings

if TYPE_CHECKING:
    from qgjob._suite_archive import PackedSuite


MAX_TEST_PATH_BYTES = 512
"""As the coordinator takes it, which is asked only after a suite was sent."""


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
    suite: str | None = None
    overflow_target: str | None = None
    overflow_after: str | None = None
    without_option: tuple[str, ...] = ()

    @classmethod
    def of(cls, context: typer.Context) -> "Submission":
        """The options of the command that is run."""
        given = {each.name: context.params[each.name] for each in fields(cls) if each.name in context.params}
        return cls(**given, without_option=tuple(context.args))

    def with_run(self, *, bound: bool) -> "Submission":
        """With a run where it names none and needs one: to be `bound`, or to supersede another. That is told."""
        if self.run_id is not None or not (bound or self.supersede is not None):
            return self
        made = new_run_id()
        tell(f"this is run {made}")
        return replace(self, run_id=made)

    def wanted(self, settings: Settings, suite: "PackedSuite | None" = None) -> list[Wanted]:
        """A job for each test, set of the matrix and repetition, in this order.

        With a suite a test may be a glob, which stands for files of it. Raises InvalidError naming the option.
        """
        if self.without_option:
            path = self.without_option[0]
            raise options.usage("--test", f"{path!r} has no option before it; write --test={path}, once for each test")
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
            suite_digest=None if suite is None else suite.digest,
            overflow_target=self.overflow_target,
            overflow_after_seconds=options.seconds(self.overflow_after, "--overflow-after"),
        )
        sets = self._for_sets(template)
        wanted = [
            replace(each, spec=replace(each.spec, test_path=path))
            for path in self._tests(self.test, suite)
            for each in sets
            for _ in range(self.repeat or 1)
        ]
        if self.idempotency_key is None:
            return wanted
        from qgjob.cli.keys import with_own_keys  # noqa: PLC0415 - only who has a key pays for it

        specs = with_own_keys(self.idempotency_key, [each.spec for each in wanted])
        return [replace(each, spec=spec) for each, spec in zip(wanted, specs, strict=True)]

    def _tests(self, tests: Sequence[str], suite: "PackedSuite | None") -> Sequence[str]:
        from qgjob.cli import globs  # noqa: PLC0415 - keeps `--help` quick

        if suite is not None:
            return _short(globs.expand(tests, suite.paths, self.suite or suite.name))
        for each in tests:
            if globs.is_glob(each):
                tell(f"--test: {each!r} is taken as it is: what it stands for is known with --suite only")
        return _short(tests)

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


def _short(tests: Sequence[str]) -> Sequence[str]:
    """The same. Raises InvalidError for one whose path no job may have."""
    for each in tests:
        if (size := len(each.encode(errors="replace"))) > MAX_TEST_PATH_BYTES:
            most = f"a test's path may have {MAX_TEST_PATH_BYTES}; give its folders shorter names"
            raise options.usage("--test", f"{each!r} has {size} bytes, and {most}")
    return tests
