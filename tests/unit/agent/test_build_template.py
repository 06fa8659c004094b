"""Templates of builds: what they may hold, and that ids can't lead out of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.builds.template import TemplateError, check, fill, format_of

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)


@pytest.mark.parametrize(
    "template",
    [
        "/builds/{app_version_id}.apk",
        "{org_id}/{app_version_id}-{platform}-{kind}.zip",
        "https://ci.example.com/{org_id}/{app_version_id}?kind={kind}",
        "http://localhost:8000/{app_version_id}.apk",
    ],
)
def test_good_ones(template: str) -> None:
    check(template)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("/builds/app.apk", "has no {app_version_id}"),
        ("/builds/{version}.apk", "has {version}, which nothing fills"),
        ("/builds/{app_version_id.__class__}.apk", "which nothing fills"),
        ("/builds/{}.apk", "has {}, which nothing fills"),
        ("/builds/{app_version_id", "is no template"),
        ("http://ci.example.com/{app_version_id}.apk", "use https"),
        ("https://me:secret@ci.example.com/{app_version_id}.apk", "a user or password"),
    ],
)
def test_bad_ones_say_what_is_wrong(template: str, problem: str) -> None:
    with pytest.raises(TemplateError, match=problem.replace("{", r"\{").replace("}", r"\}")) as caught:
        check(template)
    assert "secret" not in str(caught.value)


@given(IDS, IDS)
def test_an_id_stays_one_part_of_a_path_and_of_an_address(org: str, version: str) -> None:
    values = {"app_version_id": version, "org_id": org, "platform": "android", "kind": "device"}
    assert fill("/builds/{org_id}/{app_version_id}.apk", values).split("/") == ["", "builds", org, f"{version}.apk"]
    assert fill("https://h/{org_id}/{app_version_id}.apk", values).count("/") == 4


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.APK", "apk"), ("x/y.aab", "aab"), ("a.ipa", "ipa"), ("Shop.app", "app"), ("a.tar.gz", None), ("apk", None)],
)
def test_formats_by_ending(name: str, form: str | None) -> None:
    assert format_of(name) == form
