"""A Dockerfile's instructions, as far as those of docker/ go."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docker"
FILES = sorted(FOLDER.glob("*.Dockerfile"))


@dataclass(slots=True)
class Stage:
    """One FROM and what follows it, each as (instruction, rest)."""

    image: str
    name: str | None
    steps: list[tuple[str, str]] = field(default_factory=list)

    def of(self, instruction: str) -> list[str]:
        """What stands behind each of these."""
        return [rest for word, rest in self.steps if word == instruction]

    def copied(self) -> list[str]:
        """What is copied from the context."""
        copies = [shlex.split(rest) for rest in self.of("COPY")]
        return [source for words in copies if not words[0].startswith("--from") for source in words[:-1]]


def stages(file: Path) -> list[Stage]:
    """The stages of a file, the last one being the image."""
    text = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", file.read_text("utf-8"), flags=re.MULTILINE))
    found: list[Stage] = []
    for line in filter(None, text.splitlines()):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            found.append(Stage(image, name or None))
        else:
            found[-1].steps.append((word, rest))
    return found


def command(rest: str) -> list[str]:
    """The words of an exec form, that of HEALTHCHECK behind its options."""
    words: list[str] = json.loads(rest[rest.index("[") :])
    return words
