"""Whose and when: questions that could be left unasked without any test's noticing, found by not asking them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.life import SHARE, Life


async def replaced(life: Life, order_id: int, **changes: Any) -> dict[str, Any]:
    request = life.request(**{"price_micros": 500_000, "key": "new"} | changes)
    return dict(await life.call("replace_order", order_id, request))


@pytest.mark.parametrize("scope", ["global", "account", "market", "group"])
async def test_under_a_halt_an_order_is_not_replaced_and_left_alone(life: Life, scope: str) -> None:
    """It would be cancelled, and nothing come in its place."""
    await life.add_market("m1", group_key="g1")
    old = await life.live()
    name = {"global": "", "account": "main", "market": "m1", "group": "g1"}[scope]
    await life.call("set_halt", scope, name, "test")
    before = await life.row("orders", old)
    assert (await replaced(life, old))["code"] == "HALTED"
    assert await life.row("orders", old) == before
    assert await life.claim_cancels() == []


async def test_in_a_suspension_an_order_is_not_replaced_and_left_alone(life: Life) -> None:
    old = await life.live()
    await life.conn.execute(
        "UPDATE ledger.exposure SET suspended_until = ledger.clock() + interval '1 minute', suspended_why = 'test'"
    )
    assert (await replaced(life, old))["code"] == "SUSPENDED"
    assert await life.claim_cancels() == []


async def test_a_worker_claims_cancels_only_for_accounts_it_names(life: Life) -> None:
    """It has no key for the others."""
    await life.open_account("other")
    order_id = await life.live()
    await life.cancel(order_id)
    assert await life.call("claim_cancels", life.worker, ("other",), 100) == []
    assert await life.claim_cancels() == [order_id]


async def test_a_worker_claims_look_ups_only_for_accounts_it_names(life: Life) -> None:
    await life.open_account("other")
    order_id = await life.unknown()
    assert await life.call("claim_look_ups", life.worker, ("other",), 1_000, 100) == []
    assert [work["order_id"] for work in await life.claim_look_ups()] == [order_id]


async def test_only_what_is_unknown_is_proven_absent(life: Life) -> None:
    for state in ("reserved", "prepared", "sending", "held_back", "live"):
        order_id = await getattr(life, state)(market=await market(life, state))
        answer = await life.prove_absent(order_id)
        assert (answer["code"], answer["detail"]) == (
            "NOT_PROVEN",
            f"the order is {state.upper()}",
        )


async def market(life: Life, slug: str) -> str:
    await life.add_market(slug)
    return slug


async def test_a_replacement_of_what_was_filled_meanwhile_places_nothing_though_more_was_asked(
    life: Life,
) -> None:
    old = await life.live()
    await replaced(life, old, size_micros=30 * SHARE)
    await life.fill(old, 10 * SHARE)
    assert await life.state(old) == "FILLED"
    found = await life.conn.fetchrow("SELECT state, code, new_order_id FROM ledger.replacement")
    assert tuple(found) == ("refused", "ALREADY_ENDED", None)
