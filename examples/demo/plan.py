"""What the demo submits, and what has to come out of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE = Path(__file__).resolve().parent.parent / "suite"

MAX_RETRIES = 2

# Files that meet a cold service at their first attempt, and pass at the second.
FLAKY = frozenset(
    {
        "tests/search/new_product_test.py",
        "tests/profile/picture_upload_test.py",
        "tests/notifications/push_delivery_test.py",
    }
)
# The file that finds a bug, and the release that has the bug.
BROKEN = ("tests/checkout/coupon_stacking_test.py", "shop-2.0.0-rc.1")


@dataclass(frozen=True, slots=True)
class Submission:
    """One run of the demo: some folders of the suite, for one build on one kind of device."""

    org_id: str
    run_id: str
    app_version_id: str
    target: str
    priority: str
    folders: tuple[str, ...]

    def test_paths(self) -> list[str]:
        """The test files of the folders, relative to the suite, in alphabetical order."""
        return [
            path.relative_to(SUITE).as_posix()
            for folder in self.folders
            for path in sorted((SUITE / "tests" / folder).glob("*_test.py"))
        ]


SUBMISSIONS = (
    Submission("northwind", "nightly-1.9.0", "shop-1.9.0", "emulator", "medium", ("onboarding", "login")),
    Submission("bluebird", "hotfix-1.8.0", "shop-1.8.0", "browserstack", "medium", ("catalog", "search")),
    Submission("bluebird", "profile-1.9.0", "shop-1.9.0", "device", "low", ("profile", "notifications")),
    Submission("northwind", "candidate-2.0.0", "shop-2.0.0-rc.1", "device", "high", ("cart", "checkout")),
    Submission("northwind", "cloud-1.9.0", "shop-1.9.0", "browserstack", "low", ("login",)),
)


def expected_outcome(test_path: str, app_version_id: str) -> str:
    """The outcome that a job of the demo has to have: passed, flaky or test_failed."""
    if (test_path, app_version_id) == BROKEN:
        return "test_failed"
    return "flaky" if test_path in FLAKY else "passed"


def expected_attempts(outcome: str) -> int:
    """How many attempts lead to such an outcome."""
    return {"passed": 1, "flaky": 2, "test_failed": 1 + MAX_RETRIES}[outcome]


def cells() -> Iterator[tuple[Submission, str]]:
    """Every (submission, test path), so every job."""
    for submission in SUBMISSIONS:
        for test_path in submission.test_paths():
            yield submission, test_path
