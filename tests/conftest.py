"""Fixtures that all tests share: a private store process a session, emptied for each test."""

from __future__ import annotations

import gc
import importlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from redis import Redis

from qgjob_coordinator.store.store import Store
from tests.fakes.store_process import StoreProcess
from tests.required import pytest_addoption, pytest_runtest_makereport

__all__ = ["pytest_addoption", "pytest_runtest_makereport"]

# Every day's run looks at the same examples, so that it is red for what was changed and not by luck;
# `HYPOTHESIS_PROFILE=nightly` looks at others each time, and for much longer.
_QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("default", derandomize=True, deadline=None, suppress_health_check=_QUIET, max_examples=50)
settings.register_profile("machines", derandomize=True, deadline=None, suppress_health_check=_QUIET)
settings.register_profile("nightly", deadline=None, suppress_health_check=_QUIET, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Of several workers each reads other files first: what one of them has rewritten the others find rewritten."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if workers > 1:
        here = Path(__file__).parent
        for path in sorted(here.rglob("test_*.py"))[worker::workers]:
            importlib.import_module(".".join(path.relative_to(here.parent).with_suffix("").parts))


# Importing and collecting make half a million objects that stay; looked at again and again, they double its time.
gc.disable()


def pytest_collection_finish() -> None:
    """What was collected stays to the end, and is no matter of the collector any more."""
    gc.freeze()
    gc.enable()


_LONGEST_FIRST = (
    "tests/integration/stack/",
    "tests/integration/",
    "tests/contract/",
    "tests/unit/policy/",
    "tests/unit/cli/",
    "tests/chaos/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Workers take whole files in this order: the short ones are for the end, when some have nothing left to do."""
    last = len(_LONGEST_FIRST)
    items.sort(key=lambda item: next((n for n, f in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(f)), last))


@pytest.fixture(scope="session")
def store_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreProcess]:
    """The session's store. A test that stops or fills a store starts its own."""
    process = StoreProcess(tmp_path_factory.mktemp("store"))
    process.start()
    yield process
    process.stop()


@pytest.fixture
def raw(store_process: StoreProcess) -> Iterator[Redis]:
    """A blocking client that sees the keys themselves; the store is empty when the test begins."""
    client = store_process.client()
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def redis_url(store_process: StoreProcess, raw: Redis) -> str:
    """Where the session's store listens; it is empty when the test begins."""
    assert raw.dbsize() == 0
    return store_process.url


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """The coordinator's view of the session's store, empty when the test begins."""
    opened = Store(redis_url)
    yield opened
    await opened.close()
