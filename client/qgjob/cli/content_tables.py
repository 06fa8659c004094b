"""What is kept for an org, for people: builds, suites, and what attempts left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from rich.console import RenderableType

from qgjob._artifacts import Artifact
from qgjob._builds import Build, PushedBuild
from qgjob._suites import PushedSuite, Suite
from qgjob.cli.evidence import Kept
from qgjob.cli.render import facts, grid
from qgjob.cli.sizes import size_words
from qgjob.cli.tables import Column


def build_table(builds: Sequence[Build]) -> RenderableType:
    """Builds, a line each."""
    columns = [
        Column("APP VERSION"),
        Column("PLATFORM"),
        Column("KIND"),
        Column("PACKAGE", spare=2),
        Column("VERSION", spare=3, least=8),
        Column("FILE", spare=4, least=12, keeps_end=True),
        Column("SIZE", spare=5),
        Column("PUSHED", spare=1),
        Column("DIGEST", spare=6, least=12),
    ]
    rows = [
        [
            each.app_version_id, each.platform, each.kind, each.package, _version(each), each.file_name,
            size_words(each.size_bytes), each.pushed_at, each.digest,
        ]
        for each in builds
    ]  # fmt: skip
    return grid(columns, rows)


def _version(build: Build) -> str | None:
    number = f"({build.version_code})" if build.version_code else None
    return " ".join(filter(None, (build.version_name, number))) or None


def pushed_facts(pushed: PushedBuild) -> RenderableType:
    """A build that was pushed, in full."""
    build = pushed.build
    return facts([("outcome", pushed.outcome), *((each.name, getattr(build, each.name)) for each in fields(build))])


def suite_table(suites: Sequence[Suite]) -> RenderableType:
    """Suites, a line each."""
    columns = [
        Column("NAME", spare=1, least=12),
        Column("FILES"),
        Column("SIZE"),
        Column("PUSHED"),
        Column("DIGEST", spare=2, least=12),
    ]
    rows = [[s.name, s.file_count, size_words(s.size_bytes), s.pushed_at, s.digest] for s in suites]
    return grid(columns, rows)


def suite_facts(pushed: PushedSuite) -> RenderableType:
    """A suite that was pushed, in full."""
    suite = pushed.suite
    return facts([(each.name, getattr(suite, each.name)) for each in fields(suite)])


def artifact_table(artifacts: Sequence[Artifact]) -> RenderableType:
    """Files of attempts, a line each."""
    columns = [
        Column("JOB"),
        Column("ATTEMPT"),
        Column("KIND"),
        Column("NAME", spare=3, least=12, keeps_end=True),
        Column("SIZE", spare=4),
        Column("PUSHED", spare=1),
        Column("DIGEST", spare=5, least=12),
    ]
    rows = [
        [each.job_id, each.attempt, each.kind, each.name, size_words(each.size_bytes), each.pushed_at, each.digest]
        for each in artifacts
    ]
    return grid(columns, rows)


def kept_table(kept: Sequence[Kept]) -> RenderableType:
    """Files on this machine, a line each."""
    columns = [Column("KIND"), Column("SIZE", spare=1), Column("FILE", spare=2, least=20, keeps_end=True)]
    rows = [[each.artifact.kind, size_words(each.artifact.size_bytes), str(each.path)] for each in kept]
    return grid(columns, rows)
