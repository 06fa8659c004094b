"""Names in the environment and in `.env` that look like settings and are none.

Coordinator, agent and command line have each a copy of this module, since they share no code; a test holds them equal,
and NAMES to what the three read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

PREFIX = "QGJOB_"
WITH_PREFIX_ONLY = ("AGENT_CONFIG", "ORG_ID", "OUTPUT", "TIMEOUT_SECONDS", "TOKEN")
"""Read as QGJOB_<NAME> alone."""
NAMES = (
    "ADB_CONNECT", "ADB_ENABLED", "ADB_FETCH_SECONDS", "ADB_HEALTH_LABELS", "ADB_HOST", "ADB_INSTALL_SECONDS",
    "ADB_MIN_BATTERY_PERCENT", "ADB_MIN_FREE_MB", "ADB_PORT", "ADB_PROGRAM", "ADB_SERIALS", "ADB_UNINSTALL_OURS",
    "AGENT_ID", "ALLOWED_ORIGINS", "APPLE_BOOT", "APPLE_BOOT_SECONDS", "APPLE_ENABLED", "APPLE_ERASE",
    "APPLE_FETCH_SECONDS", "APPLE_INSTALL_SECONDS", "APPLE_MIN_FREE_MB", "APPLE_PHYSICAL", "APPLE_PROGRAM",
    "APPLE_UDIDS", "APPLE_UNINSTALL_OURS", "APPWRIGHT_APPIUM", "APPWRIGHT_APPIUM_URL", "APPWRIGHT_ATTEMPTS_PER_RUN",
    "APPWRIGHT_CONFIG", "APPWRIGHT_ENV_ALLOW", "APPWRIGHT_MODE", "APPWRIGHT_NODE", "APPWRIGHT_OUTPUT_BYTES",
    "APPWRIGHT_PROJECT", "APPWRIGHT_PROJECTS_ANDROID", "APPWRIGHT_PROJECTS_BROWSERSTACK", "APPWRIGHT_PROJECTS_IOS",
    "APPWRIGHT_PROJECTS_SIMULATOR", "APPWRIGHT_SUITE_DIR", "ARTIFACTS_MAX_MB", "ARTIFACT_RETENTION_DAYS",
    "ATTEMPT_TIMEOUT_SECONDS", "BLOB_SPOOL_DIR", "BLOB_URL",
    "BROWSERSTACK_ACCESS_KEY", "BROWSERSTACK_API_URL", "BROWSERSTACK_ENABLED", "BROWSERSTACK_EVIDENCE",
    "BROWSERSTACK_EVIDENCE_SECONDS", "BROWSERSTACK_HUB_URL", "BROWSERSTACK_LOOK_SECONDS", "BROWSERSTACK_MODEL",
    "BROWSERSTACK_OS_VERSION", "BROWSERSTACK_PLATFORM", "BROWSERSTACK_SESSIONS", "BROWSERSTACK_UPLOAD_SECONDS",
    "BROWSERSTACK_USERNAME", "BROWSERSTACK_WAIT_SECONDS",
    "BUILDS_CACHE_MB", "BUILDS_TEMPLATE", "BUILD_MAX_MB", "BUILD_RETENTION_DAYS", "COMMAND_ARGV", "COMMAND_CWD",
    "COMMAND_ENV_ALLOW", "COMMAND_OUTPUT_BYTES", "COORDINATOR", "CREDIT", "DEFAULT_PRIORITY", "DEFAULT_TARGET",
    "DRAIN_SECONDS",
    "DURABILITY", "ENVIRONMENT", "EVIDENCE_DEVICE_LOG", "EVIDENCE_KEEP", "EVIDENCE_MAX_FILES", "EVIDENCE_MAX_MB",
    "EVIDENCE_SPOOL_MB", "GROUP_MAX_DEVICES", "GRPC_PORT", "HEARTBEAT_SECONDS", "HOST", "INFRA_MAX_RETRIES",
    "KILL_GRACE_SECONDS", "LEASE_SECONDS", "LOG_LEVEL", "MAX_RETRIES", "MAX_RUNNING_PER_ORG", "MIN_FREE_MB",
    "ORG_WEIGHTS", "PARENT_PID", "PORT", "QUARANTINE_SECONDS", "REDIS_POOL_SIZE", "REDIS_URL", "RETENTION_DAYS",
    "RUNNER", "SESSION_TIMEOUT_SECONDS", "SILENCE_TIMEOUT_SECONDS", "SIMULATED_BROKEN_BUILDS",
    "SIMULATED_FAILING_INSTALLS",
    "SIMULATED_FAILING_TESTS", "SIMULATED_FAILURE_RATE", "SIMULATED_GENERATE_COUNT", "SIMULATED_GENERATE_PREFIX",
    "SIMULATED_GENERATE_TARGET", "SIMULATED_HEAL_AFTER_PROBES", "SIMULATED_INSTALL_SECONDS", "SIMULATED_SEED",
    "SIMULATED_TEST_SECONDS", "STATE_DIR", "SUITES_CACHE_DIR", "SUITES_CACHE_MB", "SUITES_INSTALL_SECONDS",
    "SUITES_NPM", "SUITE_MAX_MB",
)  # fmt: skip
"""Read with the prefix and without it."""
# What a test's command is told, and what the programs hand down to each other.
_TOLD = (
    "APPWRIGHT_PATH", "APPWRIGHT_PLAN", "APP_PACKAGE", "APP_URL", "APP_VERSION_ID", "ATTEMPT", "BUILD_PATH",
    "DEVICE_ID", "EXECUTION", "HANDED_DOWN", "JOB_ID", "OUTPUT_DIR", "PLATFORM", "TARGET", "TEST_PATH", "UDID",
)  # fmt: skip
_OF_DEMO_AND_TESTS = ("QGJOB_DEMO_", "QGJOB_LAB_", "QGJOB_TEST_")
_ALIKE = 0.75
_OF_OTHERS = ("DB_HOST", "DB_PORT")
"""One slip off ADB_HOST and ADB_PORT, and in many a `.env`."""


@dataclass(frozen=True, slots=True)
class Stray:
    """A name that nothing reads, where it is set, and what to do. Its value may be a secret, so it is not told."""

    name: str
    source: str
    advice: str

    @property
    def line(self) -> str:
        """All in one line."""
        return f"{self.name} (from {self.source}) is not a setting; {self.advice}"


def strays(environment: Iterable[str], file: Iterable[str], path: object, *, bare: bool = True) -> list[Stray]:
    """The strays of the environment and of the `.env` at `path`.

    Other programs have names there too: without the prefix only a name in the file counts, which is one slip off a
    setting's; none does if not `bare`.
    """
    found = [Stray(name, "the environment", advice) for name, advice in _prefixed(environment)]
    names = list(file)
    found += [Stray(name, str(path), advice) for name, advice in _prefixed(names)]
    for name in names if bare else ():
        near = None if name.startswith(PREFIX) or name in NAMES or name in _OF_OTHERS else _meant(name)
        if near is not None:
            found.append(Stray(name, str(path), f"did you mean {near}?"))
    return found


def _prefixed(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    known = [PREFIX + name for name in (*NAMES, *WITH_PREFIX_ONLY)]
    passed = {*known, *(PREFIX + name for name in _TOLD)}
    for name in sorted(names):
        if name.startswith(PREFIX) and name not in passed and not name.startswith(_OF_DEMO_AND_TESTS):
            near = get_close_matches(name, known, n=1, cutoff=_ALIKE)
            close = near and get_close_matches(name.removeprefix(PREFIX), [near[0].removeprefix(PREFIX)], cutoff=_ALIKE)
            yield name, f"did you mean {near[0]}?" if close else "env.example lists them all"


def _meant(name: str) -> str | None:
    return next((known for known in NAMES if name.upper() == known or _one_slip(name.upper(), known)), None)


def _one_slip(one: str, other: str) -> bool:
    """Whether a character was left out, put in, replaced, or swapped with the next one."""
    short, long = sorted((one, other), key=len)
    at = next((i for i, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[at:] == long[at + 1 :]
    swapped = short[at : at + 2][::-1] == long[at : at + 2] and short[at + 2 :] == long[at + 2 :]
    return short != long and (swapped or short[at + 1 :] == long[at + 1 :])
