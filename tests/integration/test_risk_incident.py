"""The incident, twice: 200 shares where 100 were allowed, by a gateway without mutex or reservation, never by ours.

One script for both: ticks that come in bursts and all see the same price, a strategy that wants 100 shares and asks
for what it does not know to have, and a venue whose acknowledgements are late. What counts is the venue's own book.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import pytest

from app.clock import Ports
from app.errors import Refused
from app.gateway import Gateway
from app.ledger import Intent, Ledger
from app.venue.interface import Accepted, OrderType, PlaceRequest, Side
from app.venue.polymarket.order import build_order
from tests.support.life import SHARE, call, market_row, token
from tests.support.worker import Rig, rig_fixture, until  # noqa: F401 - the fixture
from workers.worker.paper_host import paper_key

WANTED: Final = 100 * SHARE
BURSTS: Final = 3
TICKS: Final = 8
LATE_MS: Final = 300
UP: Final = token("m1", 0)
AT_VENUE: Final = (
    "SELECT coalesce(sum(CASE status WHEN 'LIVE' THEN size_micros ELSE matched_micros END), 0)::bigint "
    "FROM paper.venue_order WHERE token_id = $1 AND status <> 'INVALID'"
)


@dataclass
class Broken:
    """What bots are made of: it signs and sends, and counts an order when its acknowledgement is here."""

    rig: Rig
    acknowledged: int = 0
    ports: Ports = field(default_factory=Ports.system)

    async def tick(self) -> None:
        missing = WANTED - self.acknowledged
        if missing <= 0:
            return
        key = paper_key("main")
        signed = build_order(
            key.signer,
            token_id=UP,
            side=Side.BUY,
            price_micros=50_000,
            size_micros=missing,
            tick_micros=10_000,
            neg_risk=False,
            order_type=OrderType.GTC,
            salt=self.ports.rng.bits(52),
            timestamp_ms=self.ports.clock.now_ms(),
            maker=key.maker,
            signer_address=key.signer_address,
            signature_type=key.signature_type,
            expiration_s=0,
            post_only=False,
        )
        request = PlaceRequest(signed.venue_order_id, signed.body_template, key.owner)
        [outcome] = await self.rig.venue.place("main", [request])
        if isinstance(outcome, Accepted):
            self.acknowledged += missing


@dataclass
class Real:
    """The same strategy, as blind as there: it knows an order once the venue has acknowledged it."""

    rig: Rig
    name: str
    gateway: Gateway
    mutex: bool
    asked: int = 0
    refused: list[str] = field(default_factory=list)

    async def tick(self) -> None:
        known = await self.rig.owner.fetchval(
            "SELECT coalesce(sum(size_micros), 0)::bigint FROM ledger.orders WHERE state = 'LIVE'"
        )
        if known < WANTED:
            await self.ask(WANTED - known)

    async def ask(self, size_micros: int) -> None:
        self.asked += 1
        wanted = Intent(
            market="m1",
            outcome="Up",
            side="BUY",
            price_micros=50_000,
            size_micros=size_micros,
            key=f"{self.name} {self.asked}",
        )
        try:
            if self.mutex:
                async with self.gateway.evaluation("m1") as evaluation:
                    await evaluation.place_order_with_guards(wanted)
            else:
                await self.gateway.place_order_with_guards(wanted)
        except Refused as refusal:
            self.refused.append(refusal.code.value)


async def bursts(rig: Rig, tick: Callable[[], Awaitable[None]]) -> None:
    """The stream tells eight changes at once, and again while the first answers are still under way."""
    await rig.fault("place", "delay", after_ms=LATE_MS)
    running: list[asyncio.Future[None]] = []
    for _ in range(BURSTS):
        running += [asyncio.ensure_future(tick()) for _ in range(TICKS)]
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.Event().wait(), LATE_MS / 3_000)
    await asyncio.gather(*running)


async def test_a_gateway_without_mutex_and_reservation_puts_200_shares_into_the_book(
    rig: Rig,
) -> None:
    row = market_row("m1")
    await rig.venue.register_market(
        row["condition_id"], [UP, token("m1", 1)], 10_000, 5 * SHARE, fee_rate_ppm=0
    )
    await bursts(rig, Broken(rig).tick)
    assert await rig.owner.fetchval(AT_VENUE, UP) >= 2 * WANTED


@pytest.mark.parametrize("mutex", [True, False], ids=["in an evaluation", "without one"])
async def test_the_same_script_leaves_100_with_ours(rig: Rig, mutex: bool) -> None:
    trader = rig.database.server.role_prefix + "trader"
    await call(rig.owner, "grant_account", "main", trader)
    async with rig.inside() as context:
        await until(lambda: context.shared.ready, "the account is ready")
        async with (
            Ledger.open(rig.database.url_for("trader")) as one,
            Ledger.open(rig.database.url_for("trader")) as other,
        ):
            # two processes' gateways: half of the ticks each
            reals = [
                Real(rig, name, Gateway(ledger), mutex)
                for name, ledger in (("one", one), ("other", other))
            ]
            turn = iter(range(BURSTS * TICKS))

            async def tick() -> None:
                await reals[next(turn) % 2].tick()

            await bursts(rig, tick)
            await rig.until("SELECT count(*) = 1 FROM ledger.orders WHERE state = 'LIVE'")
            asked = sum(real.asked for real in reals)
            refused = [code for real in reals for code in real.refused]
            # Whatever got in the way of each: one that nothing else is in the way of meets the cap.
            await reals[0].ask(WANTED)
            assert reals[0].refused[-1] == "CAP_OUTCOME"
    assert await rig.owner.fetchval(AT_VENUE, UP) == WANTED
    assert asked > TICKS, "the ticks were as many as there"
    assert len(refused) == asked - 1
    assert set(refused) <= {"CAP_OUTCOME", "LOCKED", "BURST_GAP", "BUSY"}
    await rig.check_sound()
