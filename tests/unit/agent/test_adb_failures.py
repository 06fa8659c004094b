"""Every refusal of a package manager has somebody to blame, and words that say what to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qgjob_agent.devices.adb.failures import FAILURES, failure_of
from qgjob_agent.devices.refusals import Blame


@pytest.mark.parametrize(
    ("output", "blame", "said"),
    [
        (
            "Performing Streamed Install\nadb: failed to install x.apk: Failure [INSTALL_FAILED_OLDER_SDK: no, 9]\n",
            Blame.BUILD,
            "INSTALL_FAILED_OLDER_SDK: no, 9",
        ),
        ("Failure [INSTALL_FAILED_NO_MATCHING_ABIS]\n", Blame.BUILD, "INSTALL_FAILED_NO_MATCHING_ABIS"),
        ("Failure [INSTALL_FAILED_INVALID_APK: x]", Blame.BUILD, "INSTALL_FAILED_INVALID_APK: x"),
        ("Failure [INSTALL_PARSE_FAILED_NOT_APK: x]", Blame.BUILD, "INSTALL_PARSE_FAILED_NOT_APK: x"),
        ("Failure [INSTALL_PARSE_FAILED_OF_2030]", Blame.BUILD, "INSTALL_PARSE_FAILED_OF_2030"),
        ("Failure [INSTALL_FAILED_INSUFFICIENT_STORAGE]", Blame.ROOM, "INSTALL_FAILED_INSUFFICIENT_STORAGE"),
        ("Failure [INSTALL_FAILED_UPDATE_INCOMPATIBLE: x]", Blame.IN_THE_WAY, "INSTALL_FAILED_UPDATE_INCOMPATIBLE: x"),
        ("Failure [INSTALL_FAILED_VERSION_DOWNGRADE]", Blame.IN_THE_WAY, "INSTALL_FAILED_VERSION_DOWNGRADE"),
        ("Failure [INSTALL_FAILED_USER_RESTRICTED]", Blame.DEVICE, "INSTALL_FAILED_USER_RESTRICTED"),
        ("Failure [INSTALL_FAILED_OF_2030]", Blame.DEVICE, "INSTALL_FAILED_OF_2030"),
        ("error: device offline\n", Blame.DEVICE, "error: device offline"),
        ("error: device unauthorized.\nThis adb\n", Blame.DEVICE, "error: device unauthorized. This adb"),
        ("error: device 'R5' not found\n", Blame.DEVICE, "error: device 'R5' not found"),
        ("error: closed\n", Blame.DEVICE, "error: closed"),
        ("cmd: Can't find service: package\n", Blame.DEVICE, "cmd: Can't find service: package"),
        ("* cannot start server on remote host\nerror: cannot connect to daemon at tcp:x", Blame.HOST, None),
        ("adb: failed to stat /b/shop.apk: No such file or directory\n", Blame.HOST, None),
        ("adb server version (41) doesn't match this client (39); killing...\n", Blame.HOST, None),
        ("Performing Streamed Install\n", Blame.DEVICE, "adb said nothing"),
        ("", Blame.DEVICE, "adb said nothing"),
    ],
)  # fmt: skip
def test_what_adb_prints_is_put_down_to_somebody(output: str, blame: Blame, said: str | None) -> None:
    failure, words = failure_of(output)
    assert failure.blame is blame
    assert said is None or words == said


@given(st.text(max_size=500))
def test_any_output_is_one_line_of_words(output: str) -> None:
    failure, words = failure_of(output)
    assert words
    assert len(words) <= 300
    assert failure.reason


def test_every_entry_says_why_in_words() -> None:
    for name, failure in FAILURES.items():
        assert name.startswith("INSTALL_")
        assert failure.reason[0].islower()
        assert not failure.reason.endswith(".")
        assert failure_of(f"Failure [{name}: because]") == (failure, f"{name}: because")
    assert {failure.blame for failure in FAILURES.values()} == set(Blame) - {Blame.HOST}
