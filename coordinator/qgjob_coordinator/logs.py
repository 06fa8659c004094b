"""Logging: structlog, for people in development, JSON in production."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterable
from typing import TextIO, cast

import structlog

from qgjob_coordinator.setting_names import Stray

LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO, "debug": logging.DEBUG}


class Stderr:
    """Standard error, whose full disk or closed pipe stops nobody: what can't be said now is lost, or said later."""

    def write(self, text: str) -> None:
        """Or not."""
        with contextlib.suppress(OSError):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Or not."""
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def configure(level: str, *, json: bool, process: int | None = None) -> None:
    """Sets up logging for the process; everything goes to standard error. `process` is which of several it is."""

    def name_process(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return event if process is None else {**event, "process": process}

    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: list[structlog.typing.Processor]
    # By default both would show the local variables of an error's frames, secrets of jobs among them.
    if json:
        frames = structlog.tracebacks.ExceptionDictTransformer(show_locals=False, use_rich=False)
        renderer = [structlog.processors.ExceptionRenderer(frames), structlog.processors.JSONRenderer()]
    else:
        plain, colors = structlog.dev.plain_traceback, sys.stderr.isatty()
        renderer = [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", Stderr())),
        cache_logger_on_first_use=True,
    )
    # What libraries say, such as gRPC of the calls that it aborts as the server stops, comes in the same form.
    handler = logging.StreamHandler(cast("TextIO", Stderr()))
    names = [structlog.stdlib.add_logger_name, structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[*names, *renderer]))
    logging.basicConfig(level=max(LEVELS[level], logging.WARNING), handlers=[handler])


def tell_strays(found: Iterable[Stray]) -> None:
    """Warns of what looks like a setting and is none."""
    for each in found:
        structlog.get_logger().warning("unknown_setting", name=each.name, source=each.source, advice=each.advice)
