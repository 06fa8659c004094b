"""Which files of a suite `--test` means. Pure.

A path that is there is that file, whatever characters it has. In other paths `*` stands for any characters but `/`,
`**` between slashes for any folders or none, `?` for one character, `[ab]` and `[!ab]` for one of some, and `{a,b}` for
one of several texts.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache

from qgjob.cli.exit_codes import NoTestsError

MAGIC = frozenset("*?[{")
_MAX_ALTERNATIVES = 1000


def expand(tests: Iterable[str], paths: Sequence[str], suite: str) -> list[str]:
    """The files that any of `tests` stands for, each once: by test, and for each in the order of `paths`.

    Raises NoTestsError for a test that stands for none; `suite` is what the message calls the suite.
    """
    known = set(paths)
    found: dict[str, None] = {}
    for test in tests:
        path = posixpath.normpath(test) if test else test
        if path in known:
            matches = [path]
        else:
            matches = [each for each in paths if _pattern(path).fullmatch(each)] if is_glob(path) else []
        if not matches:
            raise NoTestsError(f"--test: {test!r} {_what_is_wrong(path, paths, suite)}", field="--test")
        found.update(dict.fromkeys(matches))
    return list(found)


def is_glob(path: str) -> bool:
    """Whether a path has characters that stand for others."""
    return not MAGIC.isdisjoint(path)


def _what_is_wrong(path: str, paths: Sequence[str], suite: str) -> str:
    files = "1 file" if len(paths) == 1 else f"{len(paths)} files"
    if is_glob(path):
        return f"matches none of the {files} of the suite {suite}; paths are relative to its folder"
    if any(each.startswith(f"{path}/") for each in paths):
        return f"is a folder of the suite {suite}; write {path}/** for all files in it"
    near = get_close_matches(path, paths, 1)
    hint = f"; did you mean {near[0]}?" if near else f" ({files}); paths are relative to its folder"
    return f"is no file of the suite {suite}{hint}"


@lru_cache(maxsize=256)
def _pattern(glob: str) -> re.Pattern[str]:
    return re.compile("|".join(_regex(each) for each in _alternatives(glob)))


def _alternatives(glob: str) -> Iterator[str]:
    """The glob without braces, for each choice among them; a brace that is not closed is itself."""
    waiting, count = [glob], 0
    while waiting:
        text = waiting.pop()
        braces = re.search(r"\{([^{}]*,[^{}]*)\}", text)
        count += 1
        if braces is None or count > _MAX_ALTERNATIVES:
            yield text
            continue
        waiting += [text[: braces.start()] + each + text[braces.end() :] for each in braces[1].split(",")]


def _regex(glob: str) -> str:
    parts = []
    at = 0
    while at < len(glob):
        if glob.startswith("**/", at) and (at == 0 or glob[at - 1] == "/"):
            parts.append("(?:[^/]+/)*")
            at += 3
        elif glob[at:] == "**" and (at == 0 or glob[at - 1] == "/"):
            parts.append(".+")
            at += 2
        elif glob[at] == "*":
            parts.append("[^/]*")
            at += 1
        elif glob[at] == "?":
            parts.append("[^/]")
            at += 1
        elif (some := re.compile(r"\[(!?)(\]?[^\]]*)\]").match(glob, at)) is not None and some[2]:
            chosen = re.sub(r"([\\\[\]^&~|])", r"\\\1", some[2])
            parts.append(f"(?!/)[{'^' if some[1] else ''}{chosen}]")
            at = some.end()
        else:
            parts.append(re.escape(glob[at]))
            at += 1
    return "".join(parts)
