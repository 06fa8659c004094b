"""What programs say of themselves: errors are troubles, whatever else is said is not."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.ledger import Ledger

LOG = """\
{"event": "reaper_blind", "level": "warning"}
{"known_epoch": 5, "event": "store_went_back", "level": "error"}
{"job_id": "acme~01", "event": "attempt_not_shown", "level": "error"}
grpc._cython.cygrpc: Unexpected [KeyError] raised by servicer method
Traceback (most recent call last):
  File "x.py", line 1, in y
KeyError: 'z'
"""


def test_errors_and_tracebacks_are_told_and_what_is_the_store_s_is_not(tmp_path: Path) -> None:
    log = tmp_path / "coordinator-0.log"
    log.write_text(LOG)
    ledger = Ledger()
    ledger.read_log("coordinator-0", log)
    first, second = [trouble.text for trouble in ledger.troubles]
    assert '"attempt_not_shown"' in first
    assert second.startswith("Traceback")
    assert second.endswith("KeyError: 'z'")
