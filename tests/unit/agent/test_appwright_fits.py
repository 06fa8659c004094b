"""What of the fast mode is used with which versions: the decision by itself."""

from __future__ import annotations

import re

import pytest

from qgjob_agent.runners.appwright import fits
from qgjob_agent.runners.appwright.fits import PLACES, Fit, Part, fit_of

BOTH = frozenset(Part)
TABLE = {"1.59.1": BOTH, "1.9.0": frozenset({Part.FILES})}


@pytest.fixture(autouse=True)
def table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fits, "TRIED_PLAYWRIGHT", TABLE)


@pytest.mark.parametrize("appwright", ["0.1.1", None])
def test_what_was_tried_with_all_parts_is_fast_and_takes_further_files(appwright: str | None) -> None:
    assert fit_of(appwright, "1.59.1", {}) == Fit()


def test_what_was_tried_without_a_part_is_fast_without_it_and_says_so() -> None:
    fit = fit_of("0.1.1", "1.9.0", {Part.JOINING: "what is not used may be missing"})
    assert fit == Fit(why_alone="Playwright 1.9.0 is not known to take further files into a process that runs")


@pytest.mark.parametrize(
    ("appwright", "playwright", "lacks", "why"),
    [
        ("0.1.46", "1.59.1", {}, "AppWright 0.1.46 was not tried; tried: 0.1.1"),
        ("0.1.1", "1.59.0", {}, "Playwright 1.59.0 was not tried; tried: 1.9.0, 1.59.1"),
        (None, "1.65.1", {}, "Playwright 1.65.1 was not tried; tried: 1.9.0, 1.59.1"),
        ("0.1.1", "1.59.1", {Part.JOINING: "it has no x"}, "Playwright 1.59.1 is not as it was released: it has no x"),
        ("0.1.1", "1.9.0", {Part.FILES: "it has no y"}, "Playwright 1.9.0 is not as it was released: it has no y"),
    ],
)
def test_what_was_not_tried_or_was_changed_runs_plain_and_says_why(
    appwright: str | None, playwright: str, lacks: dict[Part, str], why: str
) -> None:
    assert fit_of(appwright, playwright, lacks) == Fit(why_plain=why)


@pytest.mark.parametrize("playwright", ["1.60.0", "1.65.1", "2.0.0"])
def test_what_loads_none_of_appwrights_tests_is_refused_with_advice(playwright: str) -> None:
    why = fit_of("0.1.1", playwright, {}).why_none or ""
    assert re.match(rf"Playwright {playwright} fails every test of AppWright 0\.1\.1; pin it in package\.json", why)


@pytest.mark.parametrize("playwright", ["next", "1", "1.x", ""])
def test_a_version_that_is_none(playwright: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        fit_of("0.1.1", playwright, {})


def test_what_a_place_lacks_is_named() -> None:
    place = PLACES[Part.FILES]
    assert place.lack("class X {\n  async runTestGroup(payload) {") is None
    assert place.lack("class X {\n  runTestGroups(payload) {") == "lib/worker/workerMain.js has no runTestGroup"
    assert place.lack(None) == "it has no lib/worker/workerMain.js"


def test_each_version_of_the_table_can_keep_files_from_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without that there is no fast mode, whatever else there is."""
    monkeypatch.undo()
    assert all(Part.FILES in parts for parts in fits.TRIED_PLAYWRIGHT.values())
    assert fits.TRIED_PLAYWRIGHT["1.59.1"] == BOTH, "which the example and the advice pin"
