"""The catalogue of mutants fits the code: nothing in it is gone."""

from __future__ import annotations

import ast

from tests.mutation.catalogue import ROOT, load
from tests.mutation.conditions import clauses


def test_clauses_are_what_stands_between_ands_and_ors() -> None:
    text = "if a == 1 and (not b or c(d, e) > 2) then x = 'if y then' end -- if z then\nlocal f = g ~= h and 1\nend"
    assert [str(c) for c in clauses(text)] == ["a == 1", "not b", "c(d, e) > 2", "g ~= h"]
    assert [text[c.start : c.end] for c in clauses(text)] == ["a == 1", "not b", "c(d, e) > 2", "g ~= h"]
    assert [str(c) for c in clauses("while n > 0 do if n > 0 then n = 1 end end")] == ["n > 0", "n > 0 #2"]


def test_the_tests_that_mutants_name_exist() -> None:
    known: dict[str, set[str]] = {}
    for m in load():
        for test in m.tests:
            file, _, function = test.partition("::")
            if file not in known:
                tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
                known[file] = {n.name for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
            assert not function or function.split("::")[-1].partition("[")[0] in known[file], f"{m.id}: {test}"
