"""Requirements as a submitter in Python gives them: the model, or a mapping with the contract's names."""

from __future__ import annotations

from typing import Any

import pytest

from qgjob import AsyncClient, InvalidError, JobSpec, Requirements
from tests.fakes.coordinator_services import FakeCoordinator

GIVEN = {
    "platform": "android",
    "os_version": "14",
    "device_model": "Pixel 8",
    "device_id": "d1",
    "labels": {"rack": "2"},
}


@pytest.mark.parametrize("requirements", [Requirements(**GIVEN), GIVEN])  # type: ignore[arg-type]
async def test_both_ask_for_the_same(fake: FakeCoordinator, client: AsyncClient, requirements: Any) -> None:
    job = await client.submit(JobSpec("acme", "v1", "a.js", requirements=requirements))
    assert job.requirements == Requirements(**GIVEN)  # type: ignore[arg-type]
    assert job.requirements.to_dict() == GIVEN


async def test_what_is_unset_restricts_nothing(client: AsyncClient) -> None:
    for number, needs in enumerate(({}, {"platform": None, "labels": None})):
        job = await client.submit(JobSpec("acme", "v1", f"{number}.js", requirements=needs))  # type: ignore[arg-type]
        assert job.requirements == Requirements()


@pytest.mark.parametrize(
    ("requirements", "field", "words"),
    [
        (
            {"deviceid": "d1"},
            "requirements.deviceid",
            "is no requirement; there are platform, os_version, device_model",
        ),
        ({"rack": "2"}, "requirements.rack", "a device label belongs into labels"),
        ({"os_version": 14}, "requirements.os_version", "14 does not fit; give a text"),
        (Requirements(os_version=14), "requirements.os_version", "14 does not fit; give a text"),  # type: ignore[arg-type]
        ({"labels": "rack=2"}, "requirements.labels", "'rack=2' does not fit; give a mapping of texts"),
        ({"labels": {"rack": 2}}, "requirements.labels.rack", "2 does not fit; keys and values are texts"),
        ("device-1", "requirements", "'device-1' does not fit; give Requirements, or a mapping with some of platform"),
    ],
)
async def test_what_does_not_fit_names_its_field(
    fake: FakeCoordinator, client: AsyncClient, requirements: Any, field: str, words: str
) -> None:
    with pytest.raises(InvalidError) as caught:
        await client.submit(JobSpec("acme", "v1", "a.js", requirements=requirements))
    assert caught.value.field == field
    assert caught.value.message.startswith(f"{field}: ")
    assert words in caught.value.message
    assert fake.jobs == {}
