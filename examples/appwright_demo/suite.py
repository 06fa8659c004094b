"""The example project with as many test files as are wanted, its packages, and two builds of its app."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tests.fakes import packages
from tests.fakes.appwright_packages import EXAMPLE
from tests.fakes.appwright_suite import make_sdk, make_suite

if TYPE_CHECKING:
    from pathlib import Path

ORG = "northwind"
VERSIONS = ("shop-2.0.0", "shop-2.1.0")
TESTS = 2  # of each file
NEEDED = ("node", "npm", "adb")


class Project:
    """On disk: the suite, the part of Android's SDK that AppWright looks for, a build of each version.

    `settings` are what agents are told of the suite; other ones, where jobs bring theirs.
    """

    def __init__(self, folder: Path, files: int) -> None:
        text = (EXAMPLE / "tests" / "sign-in.spec.ts").read_text("utf-8")
        self.test_paths = [f"tests/sign-in-{number:02}.spec.ts" for number in range(1, files + 1)]
        self.suite = make_suite(folder / "suite", {path.removeprefix("tests/"): text for path in self.test_paths})
        self.settings: dict[str, object] = {"APPWRIGHT_SUITE_DIR": self.suite}
        self.sdk = make_sdk(folder / "sdk")
        self.builds = {
            version: packages.write(folder / f"{version}.apk", packages.apk(version.encode(), code=code))
            for code, version in enumerate(VERSIONS, start=1)
        }


def missing() -> list[str]:
    """The programs that are needed and not on this machine."""
    return [name for name in NEEDED if shutil.which(name) is None]
