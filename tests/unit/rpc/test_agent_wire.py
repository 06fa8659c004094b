"""Messages to an agent, however much there is to say: none is too large, nothing is lost or turned round."""

from __future__ import annotations

from typing import Any

from qgjob_coordinator.rpc import agent_wire_out
from qgjob_coordinator.service.agents import messages as m
from qgjob_coordinator.store.types.claims import Grant
from qgjob_proto.v1 import agent_pb2 as pb

EPOCH = 3
RECEIVED_MOST = 4 * 1024 * 1024
"""What a gRPC receiver takes unless told."""


def _assign(device_id: str, *ulids: str, **spec: Any) -> m.Assign:
    values = {"a": "v1", "p": "tests/a.spec.js", "g": "emulator"} | spec
    grants = tuple(Grant(ulid, f"token-{ulid}", 1, 1, 0, values) for ulid in ulids)
    return m.Assign((m.Batch("acme", device_id, grants),), 60_000, 0)


def _packed(*messages: m.Down) -> list[pb.ConnectResponse]:
    out = list(agent_wire_out.packed(EPOCH, messages))
    assert {message.epoch for message in out} == {EPOCH}
    return out


def _assigned(out: list[pb.ConnectResponse]) -> list[str]:
    return [a.token for message in out for a in message.assign.assignments]


def test_neighbours_of_one_kind_are_one_message() -> None:
    ack = m.ReportAck(((1, m.Verdict.APPLIED),))
    out = _packed(_assign("d1", "1"), _assign("d2", "2"), ack, ack, _assign("d1", "3"))
    assert [message.WhichOneof("body") for message in out] == ["assign", "report_ack", "assign"]
    assert [(a.token, a.device_id) for a in out[0].assign.assignments] == [("token-1", "d1"), ("token-2", "d2")]


def test_assignments_go_by_the_hundred_and_in_order() -> None:
    ulids = [str(n) for n in range(250)]
    out = _packed(_assign("d1", *ulids[:130]), _assign("d2", *ulids[130:]))
    assert [len(message.assign.assignments) for message in out] == [100, 100, 50]
    assert _assigned(out) == [f"token-{ulid}" for ulid in ulids]


def test_jobs_with_a_large_env_go_in_messages_of_a_bounded_size() -> None:
    env = {f"V{n}": "x" * 30_000 for n in range(30)}
    ulids = [str(n) for n in range(20)]
    out = _packed(_assign("d1", *ulids, e=env))
    assert _assigned(out) == [f"token-{ulid}" for ulid in ulids]
    assert max(message.ByteSize() for message in out) < 1024 * 1024
    assert all(dict(a.env) == env for message in out for a in message.assign.assignments)


def test_many_small_envs_share_a_message_up_to_its_size() -> None:
    ulids = [str(n) for n in range(60)]
    out = _packed(_assign("d1", *ulids, e={"TEXT": "ä" * 16_000}))
    assert len(out) > 1
    assert max(message.ByteSize() for message in out) <= agent_wire_out.ASSIGN_BYTES
    assert min(message.ByteSize() for message in out[:-1]) > agent_wire_out.ASSIGN_BYTES / 2


def test_acknowledgements_are_cut_by_count() -> None:
    entries = [(n, m.Verdict.APPLIED) for n in range(2_500)]
    out = _packed(m.ReportAck(tuple(entries[:1_700])), m.ReportAck(tuple(entries[1_700:])))
    assert [len(message.report_ack.entries) for message in out] == [1_000, 1_000, 500]
    assert [e.report_id for message in out for e in message.report_ack.entries] == list(range(2_500))


def test_what_answers_a_full_hello_or_heartbeat_fits_in_one_message() -> None:
    """It names at most the tokens that were shown, so it is smaller than what it answers."""
    tokens = tuple(f"{n:032x}" for n in range(20_000))
    welcome = m.Welcome(1, 1, 1, 1, 1, tokens, tokens, ())
    for message in (m.HeartbeatAck(1, tokens, tokens), welcome):
        (out,) = _packed(message)
        assert out.ByteSize() < RECEIVED_MOST
