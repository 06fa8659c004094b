"""Calls over several coordinators: which one is asked, what is repeated, for how long."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_before_delay

from qgjob._addresses import whole
from qgjob._errors import ConfigError, DeadlineError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence

    from qgjob._transport import Transport

T = TypeVar("T")

TIMEOUT_SECONDS = 30.0
RECONNECT_SECONDS = 120.0
UPLOAD_TRIES = 4
UPLOAD_IDLE_SECONDS = 600.0
"""A coordinator may have others to take bytes from first, and has to hand a large file on before it answers."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a client goes on.

    `timeout_seconds` bounds a call with all its repeats, and the first connection of a stream; `reconnect_seconds` how
    long a stream that has worked may be away, and a watch of a client that was answered before. `try_seconds` bounds
    one try, so that a coordinator that hangs leaves time to ask another one.
    """

    timeout_seconds: float = TIMEOUT_SECONDS
    try_seconds: float = 10.0
    reconnect_seconds: float = RECONNECT_SECONDS
    backoff_seconds: float = 0.1
    max_backoff_seconds: float = 2.0

    def pause_seconds(self, failures: int) -> float:
        """Before the next try, after so many failures in a row (from 1): exponential with full jitter."""
        ceiling = min(self.max_backoff_seconds, self.backoff_seconds * 2 ** min(failures - 1, 16))
        return random.uniform(0, ceiling)  # noqa: S311 - jitter is no secret


def parse_addresses(text: str) -> tuple[str, ...]:
    """`host:port,host` as ("host:port", "host:50051"). Raises ConfigError."""
    try:
        return whole(text.split(","))
    except ValueError as error:
        raise ConfigError(f"coordinator: {text!r} {error}") from None


class Failover:
    """The coordinators of a client. One that works is stayed with; one that fails is followed by the next."""

    def __init__(
        self,
        transports: Sequence[Transport],
        patience: Patience,
        on_trouble: Callable[[UnavailableError], None] | None = None,
    ) -> None:
        self._transports = transports
        self._current = 0
        self._wrong: set[Transport] = set()
        self._on_trouble = on_trouble
        self.patience = patience
        self.reached = False
        """Whether a coordinator has ever done what this client asked."""

    @property
    def address(self) -> str:
        """Of the coordinator that is asked next."""
        return self._transports[self._current].address

    async def call(
        self, method: str, request: Any, *, repeatable: bool = True, within_seconds: float | None = None
    ) -> Any:
        """Ask until answered. A call that is not `repeatable` is sent once, to the first coordinator that answers.

        `within_seconds` takes the place of the timeout; it leaves time to ask another coordinator than one that hangs.
        Raises the last UnavailableError when the patience is over or when no address has a coordinator, and every other
        error at once.
        """
        end = asyncio.get_running_loop().time() + (within_seconds or self.patience.timeout_seconds)
        if within_seconds is not None:
            try_seconds = within_seconds / len(self._transports)
            return await self._try_until(
                end, lambda to, left: to.call(method, request, timeout_seconds=min(left, try_seconds))
            )
        if not repeatable:
            await self._try_until(end, lambda transport, left: transport.connect(timeout_seconds=left))
            left = max(end - asyncio.get_running_loop().time(), 0.001)
            transport = self._transports[self._current]
            try:
                return await transport.call(method, request, timeout_seconds=left)
            except UnavailableError:
                self._turn_from(transport)  # it may take connections and answer nothing: the next call is another's
                raise
        return await self._try_until(end, lambda to, left: to.call(method, request, timeout_seconds=left))

    async def _try_until(self, end: float, work: Callable[[Transport, float], Awaitable[T]]) -> T:
        """Does `work`, given how many seconds it may take, with one coordinator after the other until one is there."""
        try:
            return await self._try(end, work)
        except UnavailableError as error:
            if error.in_vain:
                raise
            failed: UnavailableError | None = error
            told = error
            unsent = error.unsent
        # The first try was without the machinery of repeats, which costs a call more than all else here.
        retrying = AsyncRetrying(
            retry=retry_if_exception(lambda error: isinstance(error, UnavailableError) and not error.in_vain),
            stop=stop_before_delay(end - asyncio.get_running_loop().time()),
            wait=self._wait,
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    if failed is not None:
                        first, failed = failed, None
                        raise first
                    try:
                        return await self._try(end, work)
                    except UnavailableError as error:
                        told = error if error.away is not None else told
                        unsent = unsent and error.unsent
                        raise
        except UnavailableError as error:
            # That nobody answered any more says less than what was answered before. And an error says all: what the
            # tries and the machinery went through would only hide it in a traceback.
            last = told if isinstance(error, DeadlineError) and told.away is not None else error
            last.unsent = unsent
            raise last.with_traceback(None) from None
        raise AssertionError("unreachable")

    async def _try(self, end: float, work: Callable[[Transport, float], Awaitable[T]]) -> T:
        transport = self._transports[self._current]
        left = max(min(self.patience.try_seconds, end - asyncio.get_running_loop().time()), 0.001)
        try:
            done = await work(transport, left)
        except UnavailableError as error:
            self.leave(transport, error, end - asyncio.get_running_loop().time())
            raise
        self.reached = True
        return done

    async def upload(self, method: str, header: Any, messages: Callable[[], AsyncIterator[Any]]) -> Any:
        """Send a header and what `messages` gives; from the start again when a coordinator goes away meanwhile.

        Raises the last UnavailableError when none connects within the timeout, or when it went wrong too often.
        """
        for left in reversed(range(UPLOAD_TRIES)):
            end = asyncio.get_running_loop().time() + self.patience.timeout_seconds
            await self._try_until(end, lambda transport, seconds: transport.connect(timeout_seconds=seconds))
            transport = self._transports[self._current]
            try:
                return await transport.upload(method, header, messages(), idle_seconds=UPLOAD_IDLE_SECONDS)
            except UnavailableError as error:
                self.leave(transport, error, self.patience.timeout_seconds if left else 0.0)
                if not left or error.in_vain:
                    raise
                await asyncio.sleep(self.patience.pause_seconds(UPLOAD_TRIES - left))
        raise AssertionError("unreachable")

    async def ask_again(self, method: str, request: Any, *, timeout_seconds: float) -> Any:
        """Ask the coordinator that answered last, once. Raises its error."""
        return await self._transports[self._current].call(method, request, timeout_seconds=timeout_seconds)

    async def stream(
        self, method: str, request: Any, left_seconds: Callable[[], float] | None = None
    ) -> AsyncGenerator[Any]:
        """The answers of one stream. When it breaks with UnavailableError, the next one goes to another coordinator.

        `left_seconds` says for how long others are opened in its place.
        """
        transport = self._transports[self._current]
        answers = transport.stream(method, request)
        try:
            async for answer in answers:
                self.reached = True
                yield answer
        except UnavailableError as error:
            self.leave(transport, error, left_seconds() if left_seconds is not None else None)
            raise
        finally:
            await answers.aclose()

    async def close(self) -> None:
        """Close all connections."""
        for transport in self._transports:
            await transport.close()

    def leave(self, transport: Transport, error: UnavailableError, left_seconds: float | None = None) -> None:
        """Turn to the next coordinator, unless another call has done so already."""
        if error.wrong_peer:
            self._wrong.add(transport)
        else:
            self._wrong.discard(transport)
        error.in_vain = len(self._wrong) == len(self._transports)
        if self._on_trouble is not None and not error.in_vain:
            error.retrying_seconds = left_seconds if left_seconds is None else max(left_seconds, 0.0)
            self._on_trouble(error)
        self._turn_from(transport)

    def _turn_from(self, transport: Transport) -> None:
        if self._transports[self._current] is transport:
            self._current = (self._current + 1) % len(self._transports)

    def _wait(self, state: RetryCallState) -> float:
        # The others are asked at once; there is a pause only when all have failed.
        rounds, asked = divmod(state.attempt_number, len(self._transports))
        return 0.0 if asked else self.patience.pause_seconds(rounds)
