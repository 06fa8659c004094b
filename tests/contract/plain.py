"""What CONTRACT says of JSON, applied to protobuf messages: names, null for unset, words for enums, texts for times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def plain(message: Message) -> Any:
    """A message as JSON shows it."""
    if isinstance(message, Timestamp):
        moment = datetime.fromtimestamp(message.seconds, UTC)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{message.nanos // 1_000_000:03d}Z"
    return {_name(f): _field(message, f) for f in message.DESCRIPTOR.fields}


def _name(field: FieldDescriptor) -> str:
    # JobError's `class` is a word that languages reserve; protobuf has it as json_name.
    return field.json_name if field.json_name == "class" else field.name


def _field(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_value(field, v) for v in value]
    if field.has_presence and not message.HasField(field.name):
        return None
    if field.name == "next_page_token":
        return value or None
    return _value(field, value)


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.enum_type is not None:
        return word(field.enum_type, value)
    return plain(value) if field.message_type is not None else value


def word(enum: EnumDescriptor, number: int) -> str | None:
    """An enum's value without prefix and in lower case; None for UNSPECIFIED."""
    if number == 0:
        return None
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return enum.values_by_number[number].name.removeprefix(prefix).lower()
