"""What the sweeper owes the ledger, step by step, without a database: each guard of it is missed here."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.scripted import Desk
from workers.worker.sweeps import GROUPS_EVERY, LOSSES_EVERY, OLD_FILLS_EVERY, Sweeps

EVERY_PASS = ["sweep_cancels", "sweep_lapsed", "sweep_expired", "sweep_breaches"]
SELDOM = ["sweep_unconfirmed", "sweep_losses", "sweep_groups"]
LOSS = {"scope": "account", "account": "main", "kind": "daily", "loss_micros": 1}


def desk(**answers: Any) -> Desk:
    at = Desk()
    vars(at.context.settings).update(unconfirmed_alarm_s=60, unconfirmed_halt_s=600)
    at.calls.answers |= {
        "sweep_cancels": 0,
        "sweep_lapsed": {"lost": [], "taken_back": []},
        "sweep_expired": 0,
        "sweep_breaches": 0,
        "sweep_unconfirmed": {"old": [], "halted": []},
        "sweep_losses": {"halted": []},
        "sweep_groups": 0,
    } | answers
    return at


async def asked(at: Desk, passes: int = 1) -> list[str]:
    sweeps = Sweeps(at.context)
    for _ in range(passes):
        await sweeps.one_pass()
    return [name for name, _ in at.calls.asked]


async def test_a_start_sweeps_everything_and_cancels_first() -> None:
    found = await asked(desk())
    assert found == [*EVERY_PASS, *SELDOM]


async def test_later_passes_look_seldom_for_what_comes_slowly() -> None:
    passes = OLD_FILLS_EVERY
    found = await asked(desk(), passes + 1)
    assert [found.count(name) for name in EVERY_PASS] == [passes + 1] * len(EVERY_PASS)
    assert [found.count(name) for name in SELDOM] == [
        2,
        1 + passes // LOSSES_EVERY,
        1 + passes // GROUPS_EVERY,
    ]


@pytest.mark.parametrize(
    "stopped",
    [
        {"sweep_breaches": 1},
        {"sweep_unconfirmed": {"old": [1], "halted": ["m1"]}},
        {"sweep_losses": {"halted": [LOSS]}},
    ],
    ids=lambda one: next(iter(one)),
)
async def test_what_was_stopped_is_cancelled_in_the_same_pass(stopped: dict[str, Any]) -> None:
    found = await asked(desk(**stopped))
    assert found == [*EVERY_PASS, *SELDOM, "sweep_cancels"]


async def test_what_only_lapsed_or_expired_stops_nothing() -> None:
    at = desk(sweep_lapsed={"lost": [1], "taken_back": [2]}, sweep_expired=3)
    assert (await asked(at)).count("sweep_cancels") == 1


@pytest.mark.parametrize(("count", "more"), [(0, False), (2, True)])
async def test_there_is_more_to_do_where_cancels_were_asked_for(count: int, more: bool) -> None:
    assert await Sweeps(desk(sweep_cancels=count).context).one_pass() is more
