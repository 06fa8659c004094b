"""Generates proto/generated, or (--check) says whether it is what the sources give."""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
OUTPUT = SOURCES / "generated"
BUILTIN = Path(str(resources.files("grpc_tools"))) / "_proto"
KEPT = {"__init__.py", "py.typed"}


def generate(into: Path) -> None:
    """Writes messages, stubs and their types below `into`. Raises SystemExit when the compiler fails."""
    files = sorted(str(p) for p in (SOURCES / "qgjob_proto" / "v1").glob("*.proto"))
    bin_ = Path(sys.executable).parent
    code = protoc.main(
        [
            "protoc",
            f"-I{SOURCES}",
            f"-I{BUILTIN}",
            f"--plugin=protoc-gen-mypy={bin_ / 'protoc-gen-mypy'}",
            f"--plugin=protoc-gen-mypy_grpc={bin_ / 'protoc-gen-mypy_grpc'}",
            f"--python_out={into}",
            f"--grpc_python_out={into}",
            f"--mypy_out=quiet:{into}",
            f"--mypy_grpc_out=quiet:{into}",
            *files,
        ]
    )
    if code:
        sys.exit(code)


def _files(folder: Path) -> dict[str, Path]:
    return {str(p.relative_to(folder)): p for p in folder.rglob("*.py*") if p.suffix in (".py", ".pyi")}


def main() -> int:
    """The exit code: 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    if not parser.parse_args().check:
        generate(OUTPUT)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        generate(fresh)
        wanted, there = _files(fresh), {n: p for n, p in _files(OUTPUT).items() if p.name not in KEPT}
        wrong = sorted(set(wanted) ^ set(there))
        wrong += sorted(n for n in set(wanted) & set(there) if not filecmp.cmp(wanted[n], there[n], shallow=False))
    if wrong:
        print(f"proto/generated is not what the sources give; run `make proto`: {', '.join(wrong)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
