"""What the coordinator says of options that can't be."""

from __future__ import annotations

import pytest

from qgjob_coordinator import __main__ as program


@pytest.mark.parametrize("text", ["0", "65", "-1", "many", "1.5", "٣", ""])
def test_a_wrong_number_of_processes(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        program.main([f"--processes={text}"])
    assert end.value.code == 2
    assert f"--processes: {text!r} is not a whole number from 1 to 64; give one\n" in capsys.readouterr().err


def test_several_processes_are_refused_where_the_kernel_spreads_no_connections(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program.sys, "platform", "darwin")
    with pytest.raises(SystemExit) as end:
        program.main(["--processes", "4"])
    assert end.value.code == 2
    assert "--processes: 4 processes on one port need Linux; run coordinators on ports" in capsys.readouterr().err


def test_the_help_speaks_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        program.main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: qgjob coordinator ")
    assert "python -m" not in said
