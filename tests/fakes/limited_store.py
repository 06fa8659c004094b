"""A store of which the user under test has the rights that docs/operations.md names, and no others."""

from __future__ import annotations

import re
from pathlib import Path

from tests.fakes.store_process import StoreProcess

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
OPTIONAL = ("+publish", "+subscribe", "+pubsub|numsub", "+config|get", "+slowlog|get")
"""Without these a coordinator serves, and says less or is slower."""


def rules_of_the_page() -> list[str]:
    """What follows `ACL SETUSER qgjob` on the page."""
    block = re.search(r"^ACL SETUSER qgjob (.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None, "docs/operations.md has no ACL line"
    return block[1].split()


def rules_of_the_user() -> list[str]:
    """The same, with the password of tests, and nothing that the user may have had before."""
    password = f">{LimitedStore.password}"
    return ["reset", *(password if rule == ">PASSWORD" else rule for rule in rules_of_the_page())]


class LimitedStore(StoreProcess):
    """`url` is that of the user; `client` is the administrator's."""

    user = "qgjob"
    password = "of-tests"  # noqa: S105 - of a store that lives as long as a test

    @property
    def url(self) -> str:
        """Where it listens, for the user."""
        return f"redis://{self.user}:{self.password}@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Also makes the user."""
        super().start()
        self.rule(*rules_of_the_user())

    def rule(self, *rules: str) -> None:
        """Changes what the user may."""
        with self.client() as client:
            client.execute_command("ACL", "SETUSER", self.user, *rules)
