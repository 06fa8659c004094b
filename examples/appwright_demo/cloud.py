"""The stand-in of a BrowserStack account, and the agent that has its sessions as devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from tests.fakes.browserstack.account import KEY, USER, Account, Control
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.stack import AgentPlan

if TYPE_CHECKING:
    from examples.appwright_demo.fakes import Sizes
    from examples.appwright_demo.suite import Project

SESSIONS = 2
"""What the plan has in parallel."""
RUNS = 2
"""As a plan is paid for more than one: what is uploaded for the first is there for the next."""
ACCOUNT = {"BROWSERSTACK_USERNAME": USER, "BROWSERSTACK_ACCESS_KEY": KEY}
_AGENT = "cloud"
_LOOK_SECONDS = 0.5


class Cloud:
    """An async context manager. An upload takes as long as an installation, a session as a test."""

    def __init__(self, sizes: Sizes) -> None:
        control = Control(SESSIONS, upload_seconds=sizes.install_seconds, session_seconds=sizes.test_seconds)
        self._server = BrowserStack(control)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._server.url

    @property
    def account(self) -> Account:
        """What it counted."""
        return self._server.account

    def agent(self, project: Project) -> AgentPlan:
        """The agent, as docs/browserstack.md sets one up."""
        settings = (
            project.settings
            | ACCOUNT
            | {
                "BROWSERSTACK_ENABLED": "true",
                "BROWSERSTACK_MODEL": "Google Pixel 8",
                "BROWSERSTACK_OS_VERSION": "14.0",
                "BROWSERSTACK_API_URL": self.url,
                "BROWSERSTACK_HUB_URL": self._server.hub,
                "BROWSERSTACK_LOOK_SECONDS": _LOOK_SECONDS,
                "APPWRIGHT_PROJECT": "cloud",
            }
        )
        return AgentPlan(_AGENT, SESSIONS, "browserstack", runner="appwright", settings=settings)
