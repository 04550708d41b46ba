"""A bot in ten lines: ask for one order, wait for its end, look at what it filled."""

import asyncio

from app.config import load_settings
from app.db.access import role_url
from app.ledger import Intent, Ledger

WANTED = Intent.of(
    market="eth-updown-15m-2056370400",
    outcome="Down",
    side="BUY",
    price="0.60",
    size="10",
    key="my-first-order",
    valid_for_ms=30_000,
)


async def trade(url: str) -> None:
    async with Ledger.open(url) as ledger:
        admission = await ledger.reserve_pending(WANTED)
        order = await ledger.settled(admission.order_id, timeout_s=60)
        print(order.state, order.cause, order.matched_micros)


asyncio.run(trade(role_url(load_settings(), "trader")))
