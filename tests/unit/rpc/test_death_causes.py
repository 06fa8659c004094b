"""Why attempts ended, from the wire to the words that people read."""

from __future__ import annotations

from qgjob_coordinator.model.enums import Charge, DeathCause
from qgjob_coordinator.rpc.agent_wire import _CAUSE, report_in
from qgjob_coordinator.service.agents.messages import DeadReport, FinishedReport
from qgjob_coordinator.service.agents.report_rows import ending, release
from qgjob_coordinator.store.types.endings import ReleaseCharge
from qgjob_proto.v1 import agent_pb2 as pb
from qgjob_proto.v1 import types_pb2
from tests.fakes.jobs import spec


def test_every_cause_of_a_death_has_its_words_and_its_charge() -> None:
    """What an agent gives back for its full disk is not told as the end of the agent."""
    for number, cause in _CAUSE.items():
        report = DeadReport(1, "acme", "j1", "t1", cause, 1, started=False)
        assert pb.DeathCause.Name(number) == f"DEATH_CAUSE_{cause.name}"
        assert release(report, "a1", 5, 0.0).message.endswith(" (agent a1)")
    assert set(_CAUSE) == set(pb.DeathCause.values()) - {pb.DEATH_CAUSE_UNSPECIFIED}
    full = release(DeadReport(1, "acme", "j1", "t1", DeathCause.DISK_FULL, 1, started=False), "a1", 5, 0.0)
    assert (full.message, full.charge) == (
        "the agent's disk is full, refuses writes, or lost the agent's state_dir (agent a1)",
        ReleaseCharge.NOBODY,
    )


def test_what_a_host_took_with_it_marks_the_job_as_its_loss() -> None:
    """The agent that was restarted says so, and it counts as what it does not show: towards poison, to another host."""
    cut_off = release(DeadReport(1, "acme", "j1", "t1", DeathCause.LEASE_LOST, 1, started=True), "a1", 5, 0.5)
    assert cut_off.charge is ReleaseCharge.OUTAGE
    lost = release(DeadReport(1, "acme", "j1", "t1", DeathCause.AGENT_LOST, 1, started=True), "a1", 5, 0.5)
    assert (lost.charge, lost.ended_at, lost.share) == (ReleaseCharge.LOST, 1, 0.5)
    assert lost.message == "its agent was restarted without it, or stood still until its lease was over (agent a1)"


def test_what_a_host_can_not_run_leads_its_job_to_another_one() -> None:
    for unfit in (False, True):
        told = pb.Finished(outcome=types_pb2.OUTCOME_PROVIDER_ERROR, unfetched=True, host_unfit=unfit)
        report = report_in(pb.Report(report_id=1, job_id=spec().job_id, token="t1", finished=told))  # noqa: S106 - a lease's
        assert isinstance(report, FinishedReport)
        end = ending(report, 5, 0.0, has_log=False)
        assert (end.charge, end.host_unfit) == (Charge.INFRASTRUCTURE, unfit)
