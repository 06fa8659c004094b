"""What is asked of every server of a store, of which some may be away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from qgjob_coordinator.errors import StoreUnavailableError
from qgjob_coordinator.store.scripts import unavailable
from qgjob_coordinator.store.topology.node import Node

T = TypeVar("T")

Asked = tuple[Node, str]
"""A server, and a key to try a write on: see Topology.masters."""


@dataclass(frozen=True, slots=True)
class Answers(Generic[T]):
    """By address: what the servers told, and why others did not."""

    told: Mapping[str, T]
    away: Mapping[str, StoreUnavailableError]

    def all(self, *, named: bool) -> list[T]:
        """What all told. Raises StoreUnavailableError; with `named` it says which servers are away."""
        if not self.away:
            return list(self.told.values())
        first = next(iter(self.away.values()))
        if not named or type(first) is not StoreUnavailableError:
            raise first
        each = ", ".join(f"{at}: {error.message.partition('; ')[0]}" for at, error in self.away.items())
        raise StoreUnavailableError(f"{each}; repeat the call later") from first


def address(redis: Redis) -> str:
    """Where a server is, without secrets."""
    told = redis.connection_pool.connection_kwargs
    return str(told.get("path") or f"{told.get('host', 'localhost')}:{told.get('port', 6379)}")


async def ask(
    servers: Sequence[Asked], question: Callable[[Node, str], Awaitable[T]], until: float | None = None
) -> Answers[T]:
    """Asks all at once; one that has not answered `until` then (loop time, s) is away.

    Raises what is no sign of being away: ConfigError, and RedisError for a bug of ours.
    """
    found = await asyncio.gather(*(_asked(question(node, key), until) for node, key in servers))
    by_address = {address(node.redis): one for (node, _), one in zip(servers, found, strict=True)}
    return Answers(
        {at: one[0] for at, one in by_address.items() if not isinstance(one, StoreUnavailableError)},
        {at: one for at, one in by_address.items() if isinstance(one, StoreUnavailableError)},
    )


async def _asked(answer: Awaitable[T], until: float | None) -> tuple[T] | StoreUnavailableError:
    try:
        async with asyncio.timeout_at(until):
            return (await answer,)
    except StoreUnavailableError as e:
        return e
    except TimeoutError:
        return _away(RedisTimeoutError("no answer"))
    except RedisError as e:
        return _away(e)


def _away(error: RedisError) -> StoreUnavailableError:
    found = unavailable(error)
    if found is None:
        raise error
    found.__cause__ = error
    return found
