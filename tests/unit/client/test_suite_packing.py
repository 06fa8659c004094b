"""From a folder to a suite: which files, and the same archive for the same files."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from qgjob import InvalidError, _suite_files
from qgjob._suite_archive import PackedSuite
from qgjob._suite_files import check_path, suite_files
from qgjob_coordinator.packages import suite_archive
from qgjob_coordinator.packages.suite_archive import members

FILES = {
    ".gitignore": "ignored/\n*.log\n",
    "package.json": "{}",
    "tests/a.spec.ts": "a",
    "tests/deep/ü b.spec.ts": "b",
    "tests/log/x.log": "ignored",
    "ignored/secret.env": "ignored",
    "node_modules/x/index.js": "never",
    "tests/node_modules/y/index.js": "never",
}
KEPT = [".gitignore", "package.json", "tests/a.spec.ts", "tests/deep/ü b.spec.ts"]


def write(folder: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "mono"
    write(folder / "e2e", FILES)
    git(folder, "init", "-q")
    return folder


async def packed(folder: Path) -> tuple[str, bytes, tuple[str, ...]]:
    with await PackedSuite.of(folder) as suite:
        data = b"".join([piece async for piece in suite.pieces(None)])
        assert suite.size_bytes == len(data)
        assert [each.path for each in members(io.BytesIO(data), len(data))] == list(suite.paths)
        return suite.digest, data, suite.paths


async def test_what_git_ignores_is_left_out_and_what_it_does_not_know_is_not(repository: Path) -> None:
    suite = repository / "e2e"
    assert list((await packed(suite))[2]) == KEPT
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "all")
    before = await packed(suite)
    (suite / "new.spec.ts").write_text("new")
    (suite / "package.json").unlink()  # tracked, and gone
    paths = (await packed(suite))[2]
    assert list(paths) == [".gitignore", "new.spec.ts", *KEPT[2:]]
    assert before[2] == tuple(KEPT)


async def test_without_git_all_is_packed_but_node_modules(tmp_path: Path) -> None:
    folder = write(tmp_path / "plain", FILES)
    left_out = [path for path in FILES if "node_modules" in path]
    assert list((await packed(folder))[2]) == sorted(set(FILES) - set(left_out))


async def test_the_same_files_are_the_same_suite(tmp_path: Path) -> None:
    """Whoever has them, wherever, since whenever."""
    one, two = write(tmp_path / "one", FILES), write(tmp_path / "other" / "two", dict(reversed(FILES.items())))
    for path in FILES:
        os.utime(two / path, (1, 1))
        (two / path).chmod(0o600)
    assert (await packed(one))[:2] == (await packed(two))[:2]
    (two / "package.json").chmod(0o700)
    executable = await packed(two)
    assert (await packed(one))[0] != executable[0]
    (two / "package.json").chmod(0o600)
    (two / "package.json").write_text("{ }")
    assert (await packed(two))[0] not in {(await packed(one))[0], executable[0]}


async def test_links_are_followed_within_the_suite(tmp_path: Path) -> None:
    folder = write(tmp_path / "suite", {"lib/a.js": "a", "lib/b.js": "b"})
    (folder / "c.js").symlink_to("lib/a.js")
    (folder / "more").symlink_to("lib")
    _, data, paths = await packed(folder)
    assert list(paths) == ["c.js", "lib/a.js", "lib/b.js", "more/a.js", "more/b.js"]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert all(each.isreg() for each in tar)


@pytest.mark.parametrize(
    ("target", "words"),
    [("/etc/hostname", "is a link out of the suite"), ("gone", "which is not there"), (".", "leads back")],
)
async def test_a_link_that_leads_elsewhere_is_told(tmp_path: Path, target: str, words: str) -> None:
    folder = write(tmp_path / "suite", {"a.js": ""})
    (folder / "b.js").symlink_to(target)
    with pytest.raises(InvalidError, match=words) as raised:
        await PackedSuite.of(folder)
    assert raised.value.field == "suite"


async def test_a_folder_that_is_no_suite_is_told(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    for folder, words in (
        (tmp_path / "none", "is not there"),
        (tmp_path / "file", "is no folder"),
        (tmp_path / "empty", "has no file"),
        (repository / "e2e" / "ignored", "has no file that git does not ignore"),
    ):
        with pytest.raises(InvalidError, match=words):
            await PackedSuite.of(folder)


def test_a_repository_that_git_can_t_read_is_not_packed_as_if_nothing_were_ignored(
    repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (repository / ".git" / "HEAD").write_text("broken")
    with pytest.raises(InvalidError, match="git can't tell what it ignores"):
        suite_files(repository / "e2e")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidError, match="it is not installed"):
        suite_files(repository / "e2e")


def test_a_repository_within_is_packed_with_what_it_ignores_itself(repository: Path) -> None:
    inner = write(repository / "e2e" / "shared", {"lib.js": "", ".gitignore": "no.js\n", "no.js": ""})
    git(inner, "init", "-q")
    found = suite_files(repository / "e2e")
    assert [path for path in found if path.startswith("shared")] == ["shared/.gitignore", "shared/lib.js"]


def test_a_submodule_that_is_not_checked_out_is_an_empty_folder(repository: Path, tmp_path: Path) -> None:
    inner = write(tmp_path / "inner", {"lib.js": ""})
    git(inner, "init", "-q")
    git(inner, "add", ".")
    git(inner, "commit", "-q", "-m", "lib")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "e2e/shared")
    assert "shared/lib.js" in suite_files(repository / "e2e")
    git(repository, "submodule", "--quiet", "deinit", "-f", "e2e/shared")
    assert list(suite_files(repository / "e2e")) == KEPT


def test_a_name_that_linux_has_no_room_for_is_told_before_anything_is_sent() -> None:
    """A Mac counts characters, of which one may be four bytes."""
    check_path(f"tests/{'ü' * 127}a/a.spec.ts")
    with pytest.raises(InvalidError, match="ü' has a name of 256 bytes, and at most 255 are taken; shorten it") as told:
        check_path(f"tests/a.spec.ts/{'ü' * 128}")
    assert told.value.field == "suite"


def test_nor_is_a_path_sent_that_no_coordinator_takes() -> None:
    folders = "ü" * 127
    check_path(f"{folders}/{folders}/{folders}/{folders}/abcd")
    with pytest.raises(InvalidError, match="/abcde' has a path of 1025 bytes, and at most 1024 are taken; ") as told:
        check_path(f"{folders}/{folders}/{folders}/{folders}/abcde")
    assert told.value.field == "suite"
    assert _suite_files.MAX_PATH_BYTES == suite_archive.MAX_PATH_BYTES
