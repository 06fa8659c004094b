"""Builds that nobody pushed: a path or an https address with the app version in it, as the agent is configured."""

from __future__ import annotations

import string
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import quote, urlsplit

FIELDS = ("app_version_id", "org_id", "platform", "kind")
FORMATS = {".apk": "apk", ".aab": "aab", ".ipa": "ipa", ".zip": "app", ".app": "app"}
ENDINGS = {"apk": ".apk", "aab": ".aab", "ipa": ".ipa", "app": ".zip"}
PLATFORMS = {"apk": "android", "aab": "android", "ipa": "ios", "app": "ios"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a device takes: its build in the coordinator's words, and how a file of it ends in most cases."""

    words: str
    ending: str


WANTED = {
    ("android", "device"): Wanted("android (.apk or .aab)", ".apk"),
    ("ios", "device"): Wanted("ios (.ipa)", ".ipa"),
    ("ios", "simulator"): Wanted("ios simulator (.app in a .zip)", ".zip"),
}
"""By platform and kind."""


class TemplateError(ValueError):
    """The template can't be used. Says what is wrong with it."""


def check(template: str) -> None:
    """Raises TemplateError for a template that no assignment could fill."""
    try:
        named = [field for _, field, _, _ in string.Formatter().parse(template) if field is not None]
    except ValueError as error:
        raise TemplateError(f"is no template: {error}; write a literal brace twice") from None
    for field in named:
        if field not in FIELDS:
            raise TemplateError(f"has {{{field}}}, which nothing fills; it may have {', '.join(FIELDS)}")
    if "app_version_id" not in named:
        raise TemplateError("has no {app_version_id}, so that all versions would be one build")
    if is_address(template):
        _check_address(template)


def _check_address(template: str) -> None:
    parts = urlsplit(template)
    if parts.scheme != "https" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise TemplateError("is an http address of another machine; use https, or a path")
    if parts.username or parts.password:
        raise TemplateError("has a user or password in it, which logs and errors would show")


def is_address(template: str) -> bool:
    """Whether it is fetched by HTTP, and no path on this host."""
    return template.startswith(("https://", "http://"))


def fill(template: str, values: dict[str, str]) -> str:
    """The path or address for an assignment; in an address each value is quoted. Ids can't leave a folder: the
    contract's alphabet has no slash, and none begins with a dot.
    """
    if is_address(template):
        values = {name: quote(value, safe="") for name, value in values.items()}
    return template.format(**{name: values[name] for name in FIELDS})


def format_of(name: str) -> str | None:
    """What a file is by its ending; None where no build ends so."""
    return FORMATS.get(PurePosixPath(name).suffix.lower())
