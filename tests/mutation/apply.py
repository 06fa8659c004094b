"""Switches a rule off in this process, and in the programs that it starts.

A script is read from a file of its own; a function of Python gets the code of its mutated text, so that whoever has
imported it has the mutant. Programs are given a copy of the package, ahead of the real one on PYTHONPATH. It is done in
a process that ends soon, and never undone.
"""

from __future__ import annotations

import importlib
import inspect
import os
import shutil
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qgjob_coordinator.store import scripts
from tests.mutation.catalogue import HOMES, ROOT, Mutant


class NotAppliedError(Exception):
    """A mutant that changes nothing of what is running. The message says which."""


def apply(mutant: Mutant, folder: Path) -> None:
    """Switches the mutant's rule off; `folder` is for copies. Raises NotAppliedError."""
    if mutant.file.startswith("lua/"):
        _scripts(mutant, folder / "mutant.lua")
    else:
        _functions(mutant)
    if mutant.processes:
        _programs(mutant, folder / "packages")


class _Scripts:
    """The folder of the scripts, with another file in the place of one. To copy it costs as much as many tests do."""

    def __init__(self, changed: Path, by: Path) -> None:
        self._folder = scripts.LUA
        self._changed = changed
        self._by = by

    def __truediv__(self, name: str) -> Path:
        path = self._folder / name
        return self._by if path == self._changed else path


def _scripts(mutant: Mutant, by: Path) -> None:
    by.write_text(mutant.mutated(), encoding="utf-8")
    scripts.LUA = _Scripts(mutant.path, by)  # type: ignore[assignment]
    scripts.script.cache_clear()


def _functions(mutant: Mutant) -> None:
    path = mutant.path
    name = ".".join(path.relative_to(_package(path).parent).with_suffix("").parts)
    module = importlib.import_module(name)
    before = dict(_code(compile(path.read_text(encoding="utf-8"), str(path), "exec")))
    after = dict(_code(compile(mutant.mutated(), str(path), "exec")))
    changed = [q for q in before if q in after and not _same(before[q], after[q])]
    if not changed or before.keys() != after.keys():
        raise NotAppliedError(f"{mutant.id}: it has to change what is in functions, and not which there are")
    for qualname in changed:
        _function(module, qualname).__code__ = after[qualname]


def _code(of: types.CodeType, inside: str = "") -> Iterator[tuple[str, types.CodeType]]:
    """The code of functions and methods by qualified name; what is inside of a function belongs to it."""
    for const in of.co_consts:
        if isinstance(const, types.CodeType):
            name = inside + const.co_name
            if const.co_flags & inspect.CO_NEWLOCALS:
                if not const.co_name.startswith("<"):
                    yield name, const
            else:
                yield from _code(const, f"{name}.")


def _same(a: types.CodeType, b: types.CodeType) -> bool:
    """Whether two pieces of code do the same; where their lines stand does not matter."""
    if (a.co_code, a.co_names, a.co_varnames) != (b.co_code, b.co_names, b.co_varnames):
        return False
    if len(a.co_consts) != len(b.co_consts):
        return False
    return all(
        _same(x, y) if isinstance(x, types.CodeType) and isinstance(y, types.CodeType) else (type(x), x) == (type(y), y)
        for x, y in zip(a.co_consts, b.co_consts, strict=True)
    )


def _function(module: types.ModuleType, qualname: str) -> Any:
    found: Any = module
    for part in qualname.split("."):
        found = inspect.getattr_static(found, part)
    if isinstance(found, property):
        found = found.fget
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    return inspect.unwrap(found)


def _package(path: Path) -> Path:
    """The import package that a file is of."""
    for home in (HOMES["coordinator"], HOMES["agent"]):
        if path.is_relative_to(ROOT / home):
            return ROOT / home
    raise NotAppliedError(f"{path} is in none of the packages that may be mutated")


def _programs(mutant: Mutant, copy: Path) -> None:
    package = _package(mutant.path)
    shutil.copytree(package, copy / package.name, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / package.name / mutant.path.relative_to(package)).write_text(mutant.mutated(), encoding="utf-8")
    ahead = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(copy) if not ahead else f"{copy}{os.pathsep}{ahead}"
    execution = sys.modules.get("qgjob_agent.executions.execution")
    if execution is not None and package.name == "qgjob_agent":
        execution._PACKAGE_ROOT = str(copy)  # type: ignore[attr-defined]  # where a supervisor is imported from
