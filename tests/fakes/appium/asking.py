"""What Appium says to a session that is asked for in a wrong way, before any driver hears of it. Pure."""

from __future__ import annotations

from typing import Any

from tests.fakes.appium.hub import HubError

_STANDARD = frozenset(
    {
        "acceptInsecureCerts",
        "browserName",
        "browserVersion",
        "pageLoadStrategy",
        "platformName",
        "proxy",
        "setWindowRect",
        "strictFileInteractability",
        "timeouts",
        "unhandledPromptBehavior",
        "webSocketUrl",
    }
)


def check(asked: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Looks at what POST /session is told; `defaults` are the capabilities of sessions that don't name them.

    Raises HubError.
    """
    if "capabilities" not in asked:
        text = "Some of the provided parameters are not known\nYou have provided none"
        raise HubError(400, "invalid argument", text, {"sessionId": None})
    if not asked["capabilities"]:
        raise HubError(
            500,
            "session not created",
            "A new session could not be created. Details: Session capabilities format must comply to the W3C standard. "
            "Make sure your client is up to date. See https://www.w3.org/TR/webdriver/#new-session for more details.",
        )
    wanted = defaults | asked["capabilities"].get("alwaysMatch", {})
    if bare := [name for name in wanted if ":" not in name and name not in _STANDARD]:
        text = (
            "All non-standard capabilities should have a vendor prefix. The following capabilities did not have one: "
        )
        raise HubError(400, "invalid argument", text + ",".join(bare))
    if not wanted.get("appium:automationName"):
        raise HubError(400, "invalid argument", "'automationName' can't be blank")
