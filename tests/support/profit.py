"""Short words for tests of profit and loss: a book that says a price, a trade, a sweep, what a view says."""

from __future__ import annotations

from typing import Any, Final

from tests.support.life import SHARE, Life, token

CENT: Final = 10_000


async def book(
    life: Life,
    bid: int | None,
    ask: int | None,
    *,
    market: str = "m1",
    outcome: int = 0,
    age_ms: int = 0,
) -> None:
    """The last good book of an outcome: one level a side, in cents; None for an empty side."""
    item = {
        "token_id": token(market, outcome),
        "bids": [] if bid is None else [[bid * CENT, 1_000 * SHARE]],
        "asks": [] if ask is None else [[ask * CENT, 1_000 * SHARE]],
        "age_ms": age_ms,
    }
    assert await life.call("note_books", [item]) == 1


async def trade(
    life: Life,
    side: str,
    shares: int,
    cents: int,
    *,
    fee: int = 0,
    status: str = "CONFIRMED",
    trade_id: str | None = None,
    **changes: Any,
) -> int:
    """An order that is placed and filled at its price, with a fee in micros. Returns its id."""
    order_id = await life.live(
        side=side, price_micros=cents * CENT, size_micros=shares * SHARE, **changes
    )
    more = {} if trade_id is None else {"trade_id": trade_id}
    answer = await life.fill(
        order_id, shares * SHARE, status, price_micros=cents * CENT, fee_micros=fee, **more
    )
    assert answer["status"] == "ok", answer
    return order_id


async def view(life: Life, name: str, where: str = "true") -> list[dict[str, Any]]:
    return [dict(row) for row in await life.conn.fetch(f"SELECT * FROM audit.{name} WHERE {where}")]


async def total_limit(
    life: Life, scope: str, name: str, value: int | None, scope_id: str | None = None
) -> None:
    text = None if value is None else str(value)
    await life.call("set_total_limit", scope, scope_id, name, text, "test")


async def lose(life: Life, collateral: int, *, market: str = "m1") -> None:
    """Buy dear and sell cheap at once: so many whole units of collateral are gone."""
    shares = collateral * 5
    await trade(life, "BUY", shares, 60, market=market)
    await trade(life, "SELL", shares, 40, market=market)


async def win(life: Life, collateral: int, *, market: str = "m1") -> None:
    shares = collateral * 5
    await trade(life, "BUY", shares, 40, market=market)
    await trade(life, "SELL", shares, 60, market=market)


async def sweep(life: Life) -> list[tuple[str, str]]:
    """`ledger.sweep_losses`: the halts it set, as (scope, kind)."""
    answer = await life.call("sweep_losses")
    assert answer["busy"] is False
    return [(one["scope"], one["kind"]) for one in answer["halted"]]
