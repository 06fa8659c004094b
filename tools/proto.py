"""Generates proto/generated, or (--check) says whether it is what the sources give.

Beside what the compiler makes of the sources, `field_comments.py` has their comments: they describe the REST API too.
"""

from __future__ import annotations

import argparse
import filecmp
import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "proto"
OUTPUT = SOURCES / "generated"
BUILTIN = Path(str(resources.files("grpc_tools"))) / "_proto"
KEPT = {"__init__.py", "py.typed"}
COMMENTS = "FIELD_COMMENTS"


def generate(into: Path) -> None:
    """Writes messages, stubs, their types and comments below `into`. Raises SystemExit when the compiler fails."""
    files = sorted(str(p) for p in (SOURCES / "qgjob_proto" / "v1").glob("*.proto"))
    bin_ = Path(sys.executable).parent
    described = into / "described.bin"
    code = protoc.main(
        [
            "protoc",
            f"-I{SOURCES}",
            f"-I{BUILTIN}",
            f"--descriptor_set_out={described}",
            "--include_source_info",
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
    comments = _comments(FileDescriptorSet.FromString(described.read_bytes()))
    described.unlink()
    lines = [f"    {name!r}: {text!r},\n" for name, text in sorted(comments.items())]
    head = '"""What the sources say of each field, as `Message.field`. Made by tools/proto.py."""\n\n'
    made = f"{head}{COMMENTS}: dict[str, str] = {{\n{''.join(lines)}}}\n"
    (into / "qgjob_proto" / "v1" / "field_comments.py").write_text(made, encoding="utf-8")


def _comments(files: FileDescriptorSet) -> dict[str, str]:
    """The leading comment of each field, in one line."""
    found = {}
    for file in files.file:
        said = {tuple(each.path): " ".join(each.leading_comments.split()) for each in file.source_code_info.location}
        message_type, field = file.MESSAGE_TYPE_FIELD_NUMBER, 2  # DescriptorProto.field
        for i, message in enumerate(file.message_type):
            for k, each in enumerate(message.field):
                found[f"{message.name}.{each.name}"] = said[message_type, i, field, k]
    return found


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
