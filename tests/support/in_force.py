"""Every kind of limit brought into force, each in a market of its own, and what is in force as rows and as answers.

For tests that kill something and look whether it is all still there.
"""

from __future__ import annotations

import json
from typing import Any, Final

from tests.support.life import SHARE, call, token
from tests.support.worker import Rig

FREE: Final = "free"
"""A market in which nothing is in the way, for the work at which something dies."""
EXPECTED: Final = {
    "burst": "BURST_MINUTE",
    "cooldown": "COOLDOWN",
    "changes": "CHANGES_MINUTE",
    "breaker": "BREAKER",
    "storm": "BREAKER",
    "suspended": "SUSPENDED",
    "halted": "HALTED",
    "grouped": "HALTED",
}
"""Market to what an order in it is refused by."""

_ROWS: Final = {
    "exposure": "SELECT m.slug, e.admitted_at, e.last_admitted_at, e.changed_at, e.change_tokens, e.change_tokens_at, "
    "e.suspended_until, e.suspended_why FROM ledger.exposure e JOIN ledger.market m USING (market_id) "
    "WHERE m.slug <> 'free'",
    "breaker": "SELECT * FROM ledger.breaker b JOIN ledger.market m USING (market_id) WHERE m.slug <> 'free'",
    "halt": "SELECT scope, scope_id, why, set_at FROM ledger.halt WHERE cleared_at IS NULL",
    "limits": "SELECT * FROM ledger.limits",
    "total_limits": "SELECT * FROM ledger.total_limits",
    "limit_change": "SELECT * FROM ledger.limit_change",
    "equity_mark": "SELECT * FROM ledger.equity_mark",
}


async def limit(rig: Rig, market: str, name: str, value: int) -> None:
    await call(rig.owner, "set_limit", None, market, name, str(value), "test")


async def _rejected(rig: Rig, market: str) -> None:
    order_id = await rig.reserve(market)
    await rig.fault("place", "http", order_id, http_status=400, text="no")
    await rig.until_state(order_id, "REJECTED")


async def _pause_is_over(rig: Rig, market: str) -> None:
    """Its time, as if it had passed."""
    await rig.owner.execute(
        "UPDATE ledger.breaker b SET until = ledger.clock() - interval '1 s' FROM ledger.market m "
        "WHERE m.market_id = b.market_id AND m.slug = $1 AND b.until IS NOT NULL",
        market,
    )


async def bring_into_force(rig: Rig) -> None:
    """By the ways of the product; a worker runs meanwhile and is stopped."""
    await rig.markets(*(name for name in EXPECTED if name != "grouped"), FREE)
    await rig.markets("grouped", group_key="coins")
    await call(rig.owner, "open_paper_account", "loser", 1_000 * SHARE, 1_000)
    await call(
        rig.owner, "set_total_limit", "account", "loser", "max_daily_loss_micros", "10000000", "t"
    )
    async with rig.inside():
        first = await rig.reserve("suspended", shares=10)
        await rig.until_state(first, "LIVE")
        await limit(rig, "suspended", "max_outcome_micros", 5 * SHARE)
        await call(rig.owner, "sweep_breaches")
        for _ in range(3):
            await _rejected(rig, "breaker")
        for n in range(5):
            await _pause_is_over(rig, "storm")
            await _rejected(rig, "storm")
            assert n < 3 or await count(rig) == n + 1
    await limit(rig, "burst", "burst_per_minute", 1)
    await limit(rig, "cooldown", "cooldown_ms", 3_600_000)
    await limit(rig, "changes", "changes_per_minute", 1)
    for market in ("burst", "cooldown", "changes"):
        await rig.reserve(market, valid_for_ms=3_600_000)
    await call(rig.owner, "set_halt", "market", "halted", "test", "test")
    await call(rig.owner, "set_halt", "group", "coins", "test", "test")
    for n, (shares, value) in enumerate(((100, 60), (-100, 40))):
        why = "opening" if shares > 0 else "redemption"
        await call(
            rig.owner,
            "book_movement",
            *("loser", token(FREE, 0), shares * SHARE, why, f"loss {n}", "", value * SHARE),
        )
    await call(rig.owner, "sweep_losses")


async def count(rig: Rig) -> int:
    """Rejects in a row of the storm."""
    return int(
        await rig.owner.fetchval(
            "SELECT b.count FROM ledger.breaker b JOIN ledger.market m USING (market_id) "
            "WHERE m.slug = 'storm' AND b.kind = 'reject'"
        )
    )


async def rows(rig: Rig) -> dict[str, set[str]]:
    """What is in force, as text."""
    return {
        name: {
            row[0] for row in await rig.owner.fetch(f"SELECT row_to_json(q)::text FROM ({query}) q")
        }
        for name, query in _ROWS.items()
    }


async def answers(rig: Rig) -> dict[str, str]:
    """What an order in each market is told, asked and undone in one transaction: asking changes nothing."""
    found = {}
    async with rig.owner.acquire() as conn:
        for market in (*EXPECTED, "loser"):
            request = rig.request(FREE if market == "loser" else market)
            if market == "loser":
                request |= {"account": "loser"}
            transaction = conn.transaction()
            await transaction.start()
            text = await conn.fetchval("SELECT ledger.reserve_pending($1)", json.dumps([request]))
            await transaction.rollback()
            [answer] = json.loads(text)
            found[market] = answer.get("code", answer["status"])
    return found


async def same(rig: Rig, before: dict[str, set[str]], *, window: bool = True) -> None:
    """Nothing of ``before`` is gone, nothing but marks of equity was added, and every order is refused as ever.

    ``window``: the minute of the burst limit cannot have passed.
    """
    after = await rows(rig)
    for name, some in before.items():
        assert some <= after[name], (name, some - after[name])
        assert name == "equity_mark" or after[name] == some, (name, after[name] - some)
    expected: dict[str, Any] = {**EXPECTED, "loser": "HALTED"}
    told = await answers(rig)
    if not window:
        del expected["burst"], told["burst"], expected["changes"], told["changes"]
        del expected["breaker"], told["breaker"]
    assert told == expected
