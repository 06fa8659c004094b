"""What a client can ask about suites: push them, list them."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from typing import Any

from qgjob import _wire_requests, _wire_suites
from qgjob._build_file import Progress
from qgjob._failover import Failover
from qgjob._suite_archive import PackedSuite
from qgjob._suites import PushedSuite, Suite, SuitePage

DEFAULT_PAGE_SIZE = 100


class SuiteCalls:
    """The calls of SuiteService."""

    _source: Failover

    async def push_suite(
        self, org_id: str, suite: str | os.PathLike[str] | PackedSuite, *, on_progress: Progress | None = None
    ) -> PushedSuite:
        """Let an org have a test project: the files of a folder that git tracks or does not ignore.

        Without git all of it, and never `node_modules`. The suite's digest is for `JobSpec.suite_digest`. What the org
        has already is not sent again. `on_progress` is told of bytes that are sent, of how many. Raises InvalidError
        for a folder that can't be packed.
        """
        if not isinstance(suite, PackedSuite):
            with await PackedSuite.of(suite) as packed:
                return await self.push_suite(org_id, packed, on_progress=on_progress)
        header = _wire_requests.push_suite_header(org_id, suite.digest, suite.size_bytes, suite.name)

        async def messages() -> AsyncGenerator[Any]:
            async for piece in suite.pieces(on_progress):
                yield _wire_requests.push_suite_chunk(piece)

        return _wire_suites.read_pushed(await self._source.upload("PushSuite", header, messages))

    async def suites_page(
        self, org_id: str, *, page_size: int = DEFAULT_PAGE_SIZE, page_token: str | None = None
    ) -> SuitePage:
        """One page of an org's suites."""
        request = _wire_requests.list_suites(org_id, page_size, page_token)
        return _wire_suites.read_suite_page(await self._source.call("ListSuites", request))

    async def list_suites(self, org_id: str) -> AsyncGenerator[Suite]:
        """All suites of an org, the last pushed first."""
        token: str | None = None
        while True:
            page = await self.suites_page(org_id, page_token=token)
            for suite in page.suites:
                yield suite
            token = page.next_page_token
            if token is None:
                return
