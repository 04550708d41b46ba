"""Fences of a transfer that could be taken away without any test's noticing: found by taking them away."""

from __future__ import annotations

import pytest

from tests.support.life import Life
from tests.support.withdrawals import Saga


@pytest.fixture(name="saga")
def _saga(life: Life) -> Saga:
    return Saga(life)


@pytest.mark.parametrize("outcome", ["accepted", "refused", "not_sent", "unsure"])
async def test_an_open_transfer_is_not_ended_by_another_worker(
    saga: Saga, second: Life, outcome: str
) -> None:
    await saga.to("DEBITED")
    attempt = await saga.open()
    other = Saga(second)
    other.id = saga.id
    assert (await other.record(attempt, outcome))["code"] == "STALE_ATTEMPT"
    assert await saga.state() == "SENDING"
    assert (await saga.record(attempt, "done"))["state"] == "DONE"


@pytest.mark.parametrize("outcome", ["refused", "not_sent"])
async def test_an_answer_to_the_first_transfer_does_not_end_the_second(
    saga: Saga, outcome: str
) -> None:
    await saga.to("DEBITED")
    first = await saga.open()
    assert (await saga.record(first, "not_sent"))["state"] == "DEBITED"
    second = await saga.open()
    assert (await saga.record(first, outcome))["code"] == "STALE_ATTEMPT"
    assert await saga.state() == "SENDING"
    assert (await saga.record(second, "done"))["state"] == "DONE"
