"""Faults that meet in one answer: each does what it says, in whatever order they were ordered."""

from __future__ import annotations

from itertools import permutations

import pytest

from app.venue.simulator.faults import CATALOGUE, Stage, Strike
from app.venue.simulator.faults.bending import Delivery, after
from app.venue.simulator.messages import answer

AFTER = [name for name, kind in CATALOGUE.items() if kind.stage is Stage.AFTER]
ORDER = {"errorMsg": "", "orderID": "0x12", "status": "live", "makingAmount": "1", "success": True}


def strike(name: str) -> Strike:
    return Strike(name, dict(CATALOGUE[name].params))


@pytest.mark.parametrize("body", [ORDER, [ORDER], {"data": [ORDER], "next_cursor": "LTE="}])
def test_any_two_of_them_can_meet_in_one_answer(body: object) -> None:
    for pair in permutations(AFTER, 2):
        delivery = after(Delivery(answer(body)), map(strike, pair))
        assert delivery.response is not None


def test_an_answer_that_is_rewritten_and_cut_off_is_cut_off() -> None:
    for pair in permutations(("wrong_id", "truncated_json")):
        delivery = after(Delivery(answer(ORDER)), map(strike, pair))
        assert delivery.response is not None
        assert len(delivery.response.body) == CATALOGUE["truncated_json"].params["keep"]
