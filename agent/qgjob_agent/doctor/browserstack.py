"""BrowserStack: whether the account may, and what its plan has free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qgjob_agent.devices.browserstack.account import Account
from qgjob_agent.devices.browserstack.errors import AccountRefusedError, CloudError
from qgjob_agent.doctor.findings import Finding, fine, problem, unused, warning

if TYPE_CHECKING:
    from qgjob_agent.doctor.host import Host

_SECONDS = 4.0


async def plan(host: Host) -> list[Finding]:
    """What the plan has, asked once as the agent asks it."""
    check, what = "browserstack.plan", host.config.browserstack
    if not what.enabled or what.username is None or what.access_key is None:
        return [unused(check, "[browserstack] is not enabled, so no session of a plan is a device")]
    from qgjob_agent.devices.browserstack.rest import Rest  # noqa: PLC0415 - loads an HTTP client

    account = Account(what.username.get_secret_value(), what.access_key.get_secret_value())
    rest = Rest(
        account, what.api_url, who=f"qgjob ({host.config.agent_id})", answer_seconds=_SECONDS, pause_seconds=0.2
    )
    try:
        found = await rest.plan()
    except AccountRefusedError as error:
        said, _, advice = str(error).partition("; ")
        return [problem(check, said, advice)]
    except CloudError as error:
        return [problem(check, str(error), "see whether this host reaches browserstack.api_url")]
    finally:
        await rest.close()
    text = f"{found.running} of {found.most} sessions run at {what.api_url}"
    if what.sessions is not None and what.sessions > found.most:
        more = f"{text}, and browserstack.sessions is {what.sessions}"
        return [warning(check, more, "set it to what the plan has, or leave it out")]
    if not found.most:
        return [problem(check, text, "see what the account's plan allows: App Automate is a plan of its own")]
    return [fine(check, text)]
