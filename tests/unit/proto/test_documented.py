"""Everything that proto/ declares has a comment, which docs/contract.md promises."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

SOURCES = Path(__file__).parents[3] / "proto"
BUILTIN = resources.files("grpc_tools") / "_proto"

# Numbers of the fields of descriptor.proto that hold declarations: a location's path is made of them and of indexes.
FILE_MESSAGE, FILE_ENUM, FILE_SERVICE = 4, 5, 6
MESSAGE_FIELD, MESSAGE_NESTED, MESSAGE_ENUM, MESSAGE_ONEOF = 2, 3, 4, 8
ENUM_VALUE = 2
SERVICE_METHOD = 2

Declared = tuple[tuple[int, ...], str]
"""A declaration: its path in the file's descriptor, and its name with those around it."""


def compiled(root: Path, into: Path) -> FileDescriptorSet:
    """The descriptors, with comments, of all files below `root`."""
    files = sorted(str(p) for p in root.rglob("*.proto"))
    out = into / "descriptors"
    code = protoc.main(
        ["protoc", f"-I{root}", f"-I{BUILTIN}", "--include_source_info", f"--descriptor_set_out={out}", *files]
    )
    assert code == 0
    return FileDescriptorSet.FromString(out.read_bytes())


def of_enum(enum: EnumDescriptorProto, path: tuple[int, ...], name: str) -> Iterator[Declared]:
    yield path, name
    for i, value in enumerate(enum.value):
        yield (*path, ENUM_VALUE, i), f"{name}.{value.name}"


def of_message(message: DescriptorProto, path: tuple[int, ...], name: str) -> Iterator[Declared]:
    yield path, name
    for i, field in enumerate(message.field):
        yield (*path, MESSAGE_FIELD, i), f"{name}.{field.name}"
    made_for_optional = {field.oneof_index for field in message.field if field.proto3_optional}
    for i, oneof in enumerate(message.oneof_decl):
        if i not in made_for_optional:
            yield (*path, MESSAGE_ONEOF, i), f"{name}.{oneof.name}"
    for i, nested in enumerate(message.nested_type):
        if not nested.options.map_entry:
            yield from of_message(nested, (*path, MESSAGE_NESTED, i), f"{name}.{nested.name}")
    for i, enum in enumerate(message.enum_type):
        yield from of_enum(enum, (*path, MESSAGE_ENUM, i), f"{name}.{enum.name}")


def declared(file: FileDescriptorProto) -> Iterator[Declared]:
    for i, message in enumerate(file.message_type):
        yield from of_message(message, (FILE_MESSAGE, i), message.name)
    for i, enum in enumerate(file.enum_type):
        yield from of_enum(enum, (FILE_ENUM, i), enum.name)
    for i, service in enumerate(file.service):
        yield (FILE_SERVICE, i), service.name
        for j, method in enumerate(service.method):
            yield (FILE_SERVICE, i, SERVICE_METHOD, j), f"{service.name}.{method.name}"


def undocumented(descriptors: FileDescriptorSet) -> list[str]:
    """Names of the declarations that have a comment neither before nor behind them."""
    missing = []
    for file in descriptors.file:
        comments = {
            tuple(at.path): (at.leading_comments + at.trailing_comments).strip()
            for at in file.source_code_info.location
        }
        missing += [f"{file.name}: {name}" for path, name in declared(file) if not comments.get(path)]
    return missing


def test_everything_declared_is_documented(tmp_path):
    descriptors = compiled(SOURCES, tmp_path)
    assert {service.name for file in descriptors.file for service in file.service} == {
        "AgentService",
        "ArtifactService",
        "BuildService",
        "FleetService",
        "JobService",
        "SuiteService",
    }
    assert undocumented(descriptors) == []


COMMENTED = """\
syntax = "proto3";

// A comment that stands alone documents nothing.

// An enum.
enum E {
  // Zero.
  E_UNSPECIFIED = 0;
}

// A message.
message M {
  // A message in it.
  message Inner {
    // A field.
    int32 a = 1;
  }
  // An enum in it.
  enum Kind {
    // Zero.
    KIND_UNSPECIFIED = 0;
  }
  // One of these.
  oneof body {
    // A member.
    string b = 1;
  }
  // An optional field.
  optional string c = 2;
  // A map.
  map<string, string> d = 3;
  Inner e = 4;  // Behind it.
}

// A service.
service S {
  // A method.
  rpc Get(M) returns (M);
}
"""


def names_missing(text: str, folder: Path) -> list[str]:
    (folder / "in").mkdir()
    (folder / "in" / "x.proto").write_text(text, encoding="utf-8")
    return undocumented(compiled(folder / "in", folder))


def test_comments_before_and_behind_count(tmp_path):
    assert names_missing(COMMENTED, tmp_path) == []


@pytest.mark.parametrize(
    ("comment", "name"),
    [
        ("// An enum.", "E"),
        ("// A message.", "M"),
        ("// A message in it.", "M.Inner"),
        ("// A field.", "M.Inner.a"),
        ("// An enum in it.", "M.Kind"),
        ("// One of these.", "M.body"),
        ("// A member.", "M.b"),
        ("// An optional field.", "M.c"),
        ("// A map.", "M.d"),
        ("// Behind it.", "M.e"),
        ("// A service.", "S"),
        ("// A method.", "S.Get"),
    ],
)
def test_each_missing_comment_is_named(tmp_path, comment, name):
    assert names_missing(COMMENTED.replace(comment, ""), tmp_path) == [f"x.proto: {name}"]


def test_a_missing_comment_of_an_enum_value_is_named(tmp_path):
    text = COMMENTED.replace("// Zero.", "", 1)
    assert names_missing(text, tmp_path) == ["x.proto: E.E_UNSPECIFIED"]
