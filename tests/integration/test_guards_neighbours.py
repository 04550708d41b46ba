"""What is done for one account in one market leaves its neighbours as they are, row by row."""

from __future__ import annotations

from typing import Any, Final

from tests.support.life import SHARE, Life, incarnation, token

OURS: Final = "0x" + "a" * 40
THEIRS: Final = "0x" + "b" * 40


async def lanes(life: Life) -> dict[tuple[str, str], dict[str, Any]]:
    rows = await life.conn.fetch(
        "SELECT a.name, m.slug, to_jsonb(e)::text AS row FROM ledger.exposure e"
        " JOIN ledger.account a USING (account_id) JOIN ledger.market m USING (market_id)"
    )
    return {(row["name"], row["slug"]): row["row"] for row in rows}


async def of_account(life: Life, name: str) -> list[Any]:
    """Its state and its balances."""
    return [
        tuple(row)
        for table in ("account_state", "balance", "contra_balance")
        for row in await life.conn.fetch(
            f"SELECT to_jsonb(x)::text FROM ledger.{table} x JOIN ledger.account a USING (account_id)"
            " WHERE a.name = $1 ORDER BY 1",
            name,
        )
    ]


async def test_a_life_in_one_lane_moves_no_other(life: Life) -> None:
    await life.open_account("other")
    await life.add_market("m2")
    for account in ("main", "other"):
        for market in ("m1", "m2"):
            taken = await life.call("take_mutex", account, market, life.worker, 1_000)
            await life.call("release_mutex", account, market, taken["term"])
            await life.call(
                "book_movement", account, token(market, 0), 50 * SHARE, "opening", market, ""
            )
    before, others = await lanes(life), await of_account(life, "other")
    assert len(before) == 4
    await life.clock.advance(10)

    held = await life.call("take_mutex", "main", "m1", life.worker, 1_000)
    refused = await life.call("take_mutex", "main", "m1", incarnation(9), 1_000, True)
    assert refused["code"] == "LOCKED"
    assert await life.call("renew_mutex", "main", "m1", held["term"], 1_000)
    await life.call("release_mutex", "main", "m1", held["term"])
    for side in ("BUY", "SELL"):
        order_id = await life.live(side=side)
        await life.fill(order_id, 4 * SHARE)
        await life.fill(order_id, 2 * SHARE, "CONFIRMED")
        await life.cancel(order_id)
        await life.read(order_id, "CANCELLED", 6 * SHARE)
    await life.call("book_movement", "main", token("m1", 0), SHARE, "opening", "more", "")

    after = await lanes(life)
    moved = [lane for lane in before if after[lane] != before[lane]]
    assert moved == [("main", "m1")]
    assert await of_account(life, "other") == others


async def test_what_is_spent_of_one_budget_is_not_spent_of_another(life: Life) -> None:
    for signer in (OURS, THEIRS):
        for kind in ("orders", "cancels"):
            assert await life.call("spend", signer, kind, 1, 10, 10) == 0
    budgets = (
        "SELECT signer || ' ' || kind AS name, to_jsonb(b)::text AS row FROM ledger.venue_budget b"
    )
    before = {row["name"]: row["row"] for row in await life.conn.fetch(budgets)}
    assert len(before) == 4
    for function, arguments in (
        ("spend", (2, 10, 10)),
        ("owe_budget", (3,)),
        ("pause_budget", (500,)),
    ):
        await life.clock.advance(100)
        await life.call(function, OURS, "orders", *arguments)
        after = {row["name"]: row["row"] for row in await life.conn.fetch(budgets)}
        assert [name for name in before if after[name] != before[name]] == [f"{OURS} orders"]
