"""JUnit files in the folder of an attempt: counted as they are, and refused in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from qgjob_agent.runners.junit_counts import JUnitError, counts_of

MAESTRO = """<?xml version='1.0' encoding='UTF-8'?>
<testsuites><testsuite name="Test Suite" device="emulator-5554" tests="3" failures="1" time="40">
<testcase id="login" name="login" time="12.0" status="SUCCESS"/>
<testcase id="cart" name="cart" time="9.0" status="ERROR"><failure>Element not found: Cart</failure></testcase>
<testcase id="pay" name="pay"><skipped/></testcase>
</testsuite></testsuites>"""
GRADLE = """<testsuite name="a.B" tests="2"><properties><property name="failure" value="no"/></properties>
<testcase name="one" classname="a.B"><error message="x">y</error><failure/></testcase><testcase name="two"/>
<system-out><![CDATA[<testcase name="no">]]></system-out></testsuite>"""


def test_all_files_of_the_folder_count(tmp_path: Path) -> None:
    assert counts_of(tmp_path) is None
    (tmp_path / "layout.xml").write_text("<hierarchy/>")
    (tmp_path / "broken.xml").write_text("no xml")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "x.xml").write_text(MAESTRO)
    assert counts_of(tmp_path) is None
    (tmp_path / "maestro.xml").write_text(MAESTRO)
    (tmp_path / "TEST-a.B.xml").write_text(GRADLE)
    counts = counts_of(tmp_path)
    assert counts is not None
    assert (counts.passed, counts.failed, counts.skipped, counts.first_failure) == (2, 2, 1, "one")


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<testsuite><testcase name='a'>", "results.xml: no XML: no element found"),
        (f"<testsuite>{' ' * 20_000_000}</testsuite>", "it has more than 20,000,000 bytes"),
    ],
)
def test_a_file_that_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "results.xml").write_text(text)
    with pytest.raises(JUnitError, match=words):
        counts_of(tmp_path)


def test_entities_and_links_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "bomb.xml").write_text(BOMB)
    (tmp_path / "link.xml").symlink_to(tmp_path / "real")
    (tmp_path / "real").write_text(MAESTRO)
    assert counts_of(tmp_path) is None
