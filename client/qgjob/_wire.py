"""What all `_wire` modules share: enums, times and optional fields, between models and protobuf messages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Generic, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from qgjob import _enums as enums
from qgjob._errors import InvalidError, ProtocolError
from qgjob_proto.v1 import jobs_pb2, types_pb2

EnumT = TypeVar("EnumT", bound=StrEnum)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Words(Generic[EnumT]):
    """An enum of the wire and the one of the models, both ways. `wire` is a generated enum, which the stubs mistype."""

    def __init__(self, model: type[EnumT], wire: Any) -> None:
        self._name = wire.DESCRIPTOR.name
        unspecified = wire.DESCRIPTOR.values_by_number[0].name
        prefix = unspecified.removesuffix("UNSPECIFIED")
        self._models: dict[int, EnumT] = {
            number: model(name.removeprefix(prefix).lower()) for name, number in wire.items() if number != 0
        }
        self._numbers: dict[str, int] = {member.value: number for number, member in self._models.items()}

    def read(self, number: int) -> EnumT:
        """The model of a number. Raises ProtocolError for one that this client does not know."""
        member = self._models.get(number)
        if member is None:
            raise ProtocolError(
                f"the coordinator sent {self._name} {number}, which this client does not know: upgrade it"
            )
        return member

    def write(self, word: str | None, field: str) -> int:
        """The number of a word, 0 for None. Raises InvalidError naming `field`."""
        if word is None:
            return 0
        number = self._numbers.get(word)
        if number is None:
            raise InvalidError(f"{field}: {word!r} is unknown; use one of {', '.join(self._numbers)}", field=field)
        return number


PRIORITY = Words(enums.Priority, types_pb2.Priority)
TARGET = Words(enums.Target, types_pb2.Target)
STATUS = Words(enums.JobStatus, types_pb2.JobStatus)
OUTCOME = Words(enums.Outcome, types_pb2.Outcome)
ERROR_CLASS = Words(enums.ErrorClass, types_pb2.ErrorClass)
PENDING_CODE = Words(enums.PendingCode, types_pb2.PendingCode)
WATCH_EVENT = Words(enums.WatchEventKind, jobs_pb2.WatchEvent)


def read_time(moment: Timestamp) -> datetime:
    """An aware datetime, cut to microseconds."""
    return _EPOCH + timedelta(seconds=moment.seconds, microseconds=moment.nanos // 1000)


def write_time(moment: datetime | None, field: str) -> Timestamp | None:
    """A timestamp. Raises InvalidError for a time without zone, which means another moment on another machine."""
    if moment is None:
        return None
    if moment.tzinfo is None:
        raise InvalidError(f"{field}: {moment.isoformat()} has no time zone; give an aware datetime", field=field)
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1000)


def optional_time(message: Any, name: str) -> datetime | None:
    """The time in a field of a message, None when it is unset."""
    return read_time(getattr(message, name)) if message.HasField(name) else None


def optional(message: Any, name: str) -> Any:
    """The value of an optional scalar field, None when it is unset."""
    return getattr(message, name) if message.HasField(name) else None


def optional_int(message: Any, name: str) -> int | None:
    """As `optional`, for numbers."""
    return int(getattr(message, name)) if message.HasField(name) else None
