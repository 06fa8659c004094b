"""Finds what a Lua file decides: every clause of every `if`, `elseif` and `while`, and every comparison that is kept.

A clause is what stands between the `and`s and `or`s of a condition. This is no parser of Lua: it knows strings,
comments and brackets, which is what the scripts of the store use. Of an expression whose value is kept or answered, the
clauses that compare count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_BLANKED = re.compile(r"'(?:\\.|[^'\\\n])*'|\"(?:\\.|[^\"\\\n])*\"|--[^\n]*")
_HEAD = re.compile(r"\b(?:if|elseif)\b(?P<if>.*?)\bthen\b|\bwhile\b(?P<while>.*?)\bdo\b", re.DOTALL)
_KEPT = re.compile(r"(?:(?<![=~<>])=|\breturn\b)(?P<kept>[^\n=][^\n]*)$", re.MULTILINE)
_COMPARES = re.compile(r"==|~=|<=|>=|<|>|\bnot\b")
_WORD = re.compile(r"\b(?:and|or|not|function)\b|[(){}\[\]]")


@dataclass(frozen=True)
class Clause:
    """One clause with its place in the file; `nth` counts those of the same text, from 1."""

    text: str
    start: int
    end: int
    nth: int = 1

    def __str__(self) -> str:
        return self.text if self.nth == 1 else f"{self.text} #{self.nth}"


def clauses(text: str) -> list[Clause]:
    """All clauses of a Lua file, in order."""
    code = _BLANKED.sub(lambda m: "_" * len(m[0]) if m[0][0] != "-" else " " * len(m[0]), text)
    spans = [(*m.span("if" if m["if"] is not None else "while"), False) for m in _HEAD.finditer(code)]
    rest = _HEAD.sub(lambda m: " " * len(m[0]), code)
    spans += [(*m.span("kept"), True) for m in _KEPT.finditer(rest)]
    found: list[Clause] = []
    seen: dict[str, int] = {}
    for start, end, kept in sorted(spans):
        for a, b in _split(rest if kept else code, start, end):
            if kept and not _COMPARES.search(rest, a, b):
                continue  # a value, and no decision
            words = " ".join(text[a:b].split())
            seen[words] = seen.get(words, 0) + 1
            found.append(Clause(words, a, b, seen[words]))
    return found


def _split(code: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The clauses between two places; those inside brackets that hold an `and` or `or` are clauses of their own."""
    depth, begin = 0, start
    for m in _WORD.finditer(code, start, end):
        if m[0] in "([{":
            depth += 1
        elif m[0] in ")]}":
            depth -= 1
        elif m[0] in ("and", "or") and depth == 0:
            yield from _inner(code, begin, m.start())
            begin = m.end()
    yield from _inner(code, begin, end)


def _inner(code: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and code[start].isspace():
        start += 1
    while start < end and code[end - 1].isspace():
        end -= 1
    part = code[start:end]
    opened = re.match(r"(?:not\s+)?\(", part)
    if opened and part.endswith(")") and re.search(r"\b(?:and|or)\b", part) and _closes_last(part, opened.end() - 1):
        yield from _split(code, start + opened.end(), end - 1)
    elif start < end:
        yield start, end


def _closes_last(part: str, at: int) -> bool:
    """Whether the bracket at `at` is closed by the last character."""
    depth = 0
    for i in range(at, len(part)):
        depth += (part[i] in "([{") - (part[i] in ")]}")
        if depth == 0:
            return i == len(part) - 1
    return False
