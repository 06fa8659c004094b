"""Suites with the real AppWright."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.fakes import aapt, appwright_packages, packages
from tests.fakes.appwright_packages import EXAMPLE


def node_modules() -> Path:
    """The example's packages. Skips where there is no node for them."""
    if reason := appwright_packages.lacking():
        pytest.skip(reason)
    return appwright_packages.installed()


def make_suite(folder: Path, files: dict[str, str] | None = None) -> Path:
    """The example with the packages; with `files`, those are its tests instead."""
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(node_modules())
    packages.write(folder / "build" / "app.apk", packages.launchable_apk())
    if files is not None:
        shutil.rmtree(folder / "tests")
        (folder / "tests").mkdir()
        for name, text in files.items():
            (folder / "tests" / name).write_text(text)
    return folder


def make_sdk(folder: Path) -> Path:
    """What AppWright wants of ANDROID_HOME."""
    tools = folder / "build-tools" / "34.0.0"
    tools.mkdir(parents=True)
    (tools / "aapt").symlink_to(aapt.PROGRAM)
    return folder
