"""Replacing: cancel, wait for the proven final size, then one commit."""

from __future__ import annotations

import pytest

from tests.support.database import TestDatabase
from tests.support.life import SHARE, Life, market_row, token

START = 10_000 * SHARE


async def replacement(life: Life) -> dict[str, object]:
    found = await life.conn.fetchrow("SELECT * FROM ledger.replacement")
    return dict(found)


async def replace(life: Life, order_id: int, **changes: object) -> dict[str, object]:
    request = life.request(**{"price_micros": 500_000, "key": "new"} | changes)
    return dict(await life.call("replace_order", order_id, request))


async def test_the_old_is_released_and_the_new_reserved_in_one_commit(life: Life) -> None:
    await life.limit("max_outcome_micros", 10 * SHARE)
    old = await life.live()
    assert (await replace(life, old))["status"] == "asked"
    # until the end is proven there is one order, the old one, and its hold
    assert (await replacement(life))["state"] == "waiting"
    assert await life.claim_cancels() == [old]
    assert await life.balance() == (START - 4 * SHARE, 4 * SHARE)
    await life.cancel_answered(old, "accepted")
    assert (await replacement(life))["state"] == "waiting"
    # a cap of 10 admits the second 10 only because the first is released in the same commit
    await life.read(old, "CANCELLED")
    done = await replacement(life)
    assert done["state"] == "done"
    assert (await life.row("orders", done["new_order_id"]))["replaces_order_id"] == old  # type: ignore[arg-type]
    assert (await life.exposure())["pending_buy"] == [10 * SHARE, 0]
    assert await life.balance() == (START - 5 * SHARE, 5 * SHARE)


async def test_the_new_is_reduced_by_what_the_old_filled_meanwhile(life: Life) -> None:
    old = await life.live()
    await life.fill(old, 2 * SHARE)  # before it was asked for: the caller knew
    await replace(life, old)
    await life.fill(old, SHARE)
    await life.read(old, "CANCELLED", 4 * SHARE)
    new = (await replacement(life))["new_order_id"]
    assert (await life.row("orders", new))["size_micros"] == 8 * SHARE  # type: ignore[arg-type]
    exposure = await life.exposure()
    assert (exposure["pending_buy"][0], exposure["awaiting_buy"][0]) == (8 * SHARE, SHARE)


async def test_a_replacement_of_what_was_never_sent_is_done_at_once(life: Life) -> None:
    old = await life.prepared()
    await replace(life, old)
    assert (await replacement(life))["state"] == "done"
    assert await life.state(old) == "NOT_PLACED"
    assert (await life.exposure())["pending_buy"] == [10 * SHARE, 0]


async def test_a_replacement_of_what_is_then_held_back_is_done(life: Life) -> None:
    old = await life.sending()
    await replace(life, old)
    await life.complete("hold_back", old)
    assert (await replacement(life))["state"] == "done"


async def test_a_replacement_of_what_is_then_rejected_is_done(life: Life) -> None:
    old = await life.sending()
    await replace(life, old)
    await life.complete("reject", old)
    assert (await replacement(life))["state"] == "done"


async def test_nothing_is_placed_for_an_order_that_was_filled(life: Life) -> None:
    old = await life.live()
    await replace(life, old)
    await life.fill(old, 10 * SHARE)
    assert (await replacement(life))["state"] == "refused"
    assert (await replacement(life))["code"] == "ALREADY_ENDED"
    assert (await life.exposure())["pending_buy"] == [0, 0]


async def test_a_replacement_waits_for_an_unknown_fate(life: Life) -> None:
    old = await life.unknown()
    await replace(life, old)
    assert (await replacement(life))["state"] == "waiting"
    await life.stream(old, "CANCELLED")
    assert (await replacement(life))["state"] == "waiting"
    await life.read(old, "CANCELLED")
    assert (await replacement(life))["state"] == "done"


async def test_a_halt_between_asking_and_the_end_refuses_the_new(life: Life) -> None:
    old = await life.live()
    await replace(life, old)
    await life.call("set_halt", "global", None, "test", "tester")
    await life.read(old, "CANCELLED")
    assert (await replacement(life))["code"] == "HALTED"
    assert (await life.exposure())["pending_buy"] == [0, 0]


async def test_the_new_order_is_judged_by_the_caps_like_any_other(life: Life) -> None:
    await life.limit("max_outcome_micros", 10 * SHARE)
    old = await life.live()
    await replace(life, old, size_micros=11 * SHARE)
    await life.read(old, "CANCELLED")
    assert (await replacement(life))["code"] == "CAP_OUTCOME"


async def test_asking_twice_is_a_replay_and_a_second_replacement_waits(life: Life) -> None:
    old = await life.live()
    first = await replace(life, old)
    assert await replace(life, old) == first | {"replay": True}
    assert (await replace(life, old, key="other"))["code"] == "BUSY"
    assert (await replace(life, old, size_micros=9 * SHARE))["code"] == "KEY_REUSED"
    await life.read(old, "CANCELLED")
    assert await replace(life, old) == first | {"replay": True}
    found = await life.call("find_by_key", "main", "new")
    assert (found["kind"], found["state"]) == ("replacement", "done")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"side": "SELL"}, "BAD_REQUEST"),
        ({"outcome": "Down"}, "BAD_REQUEST"),
        ({"market": "m2"}, "BAD_REQUEST"),
        ({"price_micros": 0}, "BAD_PRICE"),
        ({"size_micros": -1}, "BAD_SIZE"),
        ({"nonsense": 1}, "BAD_REQUEST"),
        ({"mutex_term": 5}, "MUTEX_LOST"),
    ],
)
async def test_a_replacement_that_makes_no_sense_leaves_the_order_alone(
    life: Life, changes: dict[str, object], code: str
) -> None:
    await life.add_market("m2")
    old = await life.live()
    before = await life.row("orders", old)
    assert (await replace(life, old, **changes))["code"] == code
    assert await life.row("orders", old) == before
    assert await life.claim_cancels() == []


async def test_an_ended_order_cannot_be_replaced(life: Life) -> None:
    old = await life.cancelled()
    assert (await replace(life, old))["code"] == "ALREADY_ENDED"
    assert (await replace(life, 4_711))["code"] == "UNKNOWN_ORDER"


async def test_two_live_orders_are_two_holds(life: Life) -> None:
    old = await life.live()
    await replace(life, old)
    await life.read(old, "CANCELLED")
    await life.clock.advance(1)
    await life.observe(old, "LIVE", took_ms=0)
    exposure = await life.exposure()
    assert (exposure["open_buy"][0], exposure["pending_buy"][0]) == (10 * SHARE, 10 * SHARE)
    assert await life.balance() == (START - 9 * SHARE, 9 * SHARE)
    assert await life.claim_cancels() == [old]


# ---- between asking and the end


@pytest.mark.parametrize("labels", [("Up", "Down"), ("Yes", "No")], ids="/".join)
async def test_a_replacement_keeps_its_market_though_a_newer_one_took_over_its_slug(
    life: Life, labels: tuple[str, str]
) -> None:
    old = await life.live()
    market_id = (await life.row("orders", old))["market_id"]
    assert (await replace(life, old))["status"] == "asked"
    outcomes = [
        {"index": index, "label": label, "token_id": token("newer", index)}
        for index, label in enumerate(labels)
    ]
    await life.call("import_markets", [market_row("newer") | {"slug": "m1", "outcomes": outcomes}])
    newer = (await life.conn.fetchval("SELECT ledger._market_id('m1')"), market_id)
    assert newer[0] > newer[1], "the slug means the newer market by now"
    await life.read(old, "CANCELLED")
    done = await replacement(life)
    assert (done["state"], done["code"]) == ("done", "")
    new = await life.row("orders", done["new_order_id"])  # type: ignore[arg-type]
    assert (new["market_id"], new["outcome"], new["token_id"]) == (market_id, 0, token("m1", 0))
    assert await life.balance() == (START - 5 * SHARE, 5 * SHARE)


async def test_whatever_is_wrong_with_the_new_order_the_end_of_the_old_one_is_booked(
    database: TestDatabase,
) -> None:
    life = await Life.begin(database)
    old, beside = await life.live(), await life.live()
    await replace(life, old)
    await life.conn.execute("""
        CREATE FUNCTION ledger.break_down() RETURNS trigger LANGUAGE plpgsql
        AS $$ BEGIN RAISE EXCEPTION 'no room left'; END $$;
        CREATE TRIGGER break_down BEFORE INSERT ON ledger.orders
        FOR EACH ROW EXECUTE FUNCTION ledger.break_down()""")
    assert (await life.read(old, "CANCELLED"))["state"] == "CANCELLED"
    assert await life.balance() == (START - 4 * SHARE, 4 * SHARE)
    refused = await replacement(life)
    assert (refused["state"], refused["code"]) == ("refused", "BAD_REQUEST")
    assert refused["new_order_id"] is None
    (row,) = await life.events("REPLACE_ENDED")
    assert row["detail"]["detail"] == "the new order could not be reserved: no room left"
    assert await life.state(beside) == "LIVE"


async def test_a_set_number_made_up_by_a_caller_does_not_pass_the_gap(life: Life) -> None:
    old = await life.live()
    await life.reserved(set_id=1)
    await life.limit("burst_gap_ms", 2_000)
    number = (await life.exposure())["last_set_id"]
    assert (await replace(life, old, set_id=number))["code"] == "BURST_GAP"
    assert await life.state(old) == "LIVE"
    await life.clock.advance(2_000)
    assert (await replace(life, old, set_id=number))["status"] == "asked"
    assert (await life.exposure())["last_set_id"] is None
    await life.read(old, "CANCELLED")
    new = (await replacement(life))["new_order_id"]
    assert (await life.row("orders", new))["set_id"] is None  # type: ignore[arg-type]
