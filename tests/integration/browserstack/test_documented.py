"""Answers of the stand-in have the names and kinds that BrowserStack documents. What was seen is in `test_seen.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2

from tests.fakes.browserstack.account import KEY, USER
from tests.fakes.browserstack.server import BrowserStack
from tests.fakes.plain_http import NO_TLS

DOCUMENTED = Path(__file__).parents[2] / "fakes" / "browserstack" / "documented.json"
OWN = {"browserstack_token"}
"""What no document names: a secret that must not get into the evidence."""


def kinds(told: dict[str, Any]) -> dict[str, str]:
    return {name: type(value).__name__ for name, value in told.items() if name not in OWN and value is not None}


async def test_answers_have_documented_names_and_kinds(cloud: BrowserStack) -> None:
    documented = {name: each["names"] for name, each in json.loads(DOCUMENTED.read_text("utf-8")).items()}
    async with httpx2.AsyncClient(base_url=cloud.url, auth=(USER, KEY), verify=NO_TLS) as http:
        plan = (await http.get("/app-automate/plan.json")).json()
        assert kinds(plan) == documented["plan"]
        files = {"file": ("app.apk", b"an apk", "application/octet-stream")}
        app = (await http.post("/app-automate/upload", files=files, data={"custom_id": "shop-1"})).json()
        assert kinds(app) == documented["upload"]
        wanted = {"appium:app": app["app_url"], "bstack:options": {"deviceName": "Google Pixel 8", "sessionName": "a"}}
        body = {"capabilities": {"alwaysMatch": wanted, "firstMatch": [{}]}}
        session_id = (await http.post("/wd/hub/session", json=body)).json()["value"]["sessionId"]
        await http.delete(f"/wd/hub/session/{session_id}")
        session = (await http.get(f"/app-automate/sessions/{session_id}.json")).json()
        assert list(session) == ["automation_session"]
        assert kinds(session["automation_session"]).items() <= documented["session"].items()
