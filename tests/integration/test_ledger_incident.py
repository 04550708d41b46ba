"""The incident: 200 shares stood on one outcome of a 15-minute market whose cap was 100.

Ticks, writers, restarts and fills that came late, each harmless alone, had doubled it. Here a venue
with its own truth (what arrives late, what is executed though nobody hears of it) is driven with the
ledger by random steps; whatever they are, the venue never holds more than the cap: filled, resting
and still on the wire together. A failure prints its seed, which repeats it.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from tests.support.database import TestDatabase
from tests.support.life import (
    LEASE_MS,
    QUARANTINE_MS,
    REQUEST_TIMEOUT_MS,
    SEND_BY_MS,
    SHARE,
    Item,
    Life,
    incarnation,
)
from tests.support.recount import differences

CAP = 100 * SHARE
STEPS = 160


@dataclass
class VenueOrder:
    size: int
    filled: int = 0
    alive: bool = True


@dataclass
class Venue:
    """What really is: orders that arrived, and bytes that may still arrive."""

    orders: dict[int, VenueOrder] = field(default_factory=dict)
    wire: list[tuple[int, int, float]] = field(default_factory=list)  # order, size, until
    unheard: list[Item] = field(default_factory=list)  # trades nobody has been told of yet
    trades: int = 0

    def arrive(self, order_id: int, size: int) -> bool:
        """Whether it is new; identical bytes are `Duplicated`."""
        if order_id in self.orders:
            return False
        self.orders[order_id] = VenueOrder(size)
        return True

    def at_risk(self) -> int:
        resting = sum(o.size - o.filled for o in self.orders.values() if o.alive)
        filled = sum(o.filled for o in self.orders.values())
        sent = {order_id: size for order_id, size, _ in self.wire if order_id not in self.orders}
        return resting + filled + sum(sent.values())


@dataclass
class Incident:
    life: Life
    writers: list[Life]
    venue: Venue
    rng: random.Random
    starts: int = 1
    turn: int = 0

    @property
    def now(self) -> float:
        return self.life.clock.now.timestamp()

    # ---- those who want to trade

    async def tick(self) -> None:
        """Writers that all see the same price at once; sometimes two use one key."""
        self.turn += 1
        rng = self.rng

        async def write(writer: Life, n: int) -> None:
            requests = [
                writer.request(
                    outcome=rng.choice(("Up", "Up", "Up", "Down")),
                    size_micros=rng.randrange(5, 60) * SHARE,
                    key=f"{self.turn} {rng.choice((n, 'same'))}",
                    clamp=rng.random() < 0.5,
                    valid_for_ms=rng.choice((1_000, 30_000, 600_000)),
                    **{"class": rng.choice(("entry", "hedge"))},
                )
                for _ in range(rng.randrange(1, 4))
            ]
            await writer.call("reserve_pending", requests)

        await asyncio.gather(*(write(writer, n) for n, writer in enumerate(self.writers)))

    async def replace(self) -> None:
        standing = await self.life.call("standing_orders", "main", None, 0)
        if standing:
            old = self.rng.choice(standing)
            request = self.life.request(
                outcome=str(old["outcome"]), size_micros=self.rng.randrange(5, 100) * SHARE
            )
            await self.life.call("replace_order", old["order_id"], request)

    async def cancel(self) -> None:
        standing = await self.life.call("standing_orders", "main", None, 0)
        if standing:
            await self.life.cancel(self.rng.choice(standing)["order_id"])

    # ---- the worker

    async def place(self) -> None:
        for work in await self.life.claim(limit=self.rng.randrange(1, 4)):
            if work["state"] == "RESERVED":
                await self.life.prepare(work["order_id"])
            if self.rng.random() < 0.9:  # else it dies between its commits
                await self.send(work)

    async def resend(self) -> None:
        for work in await self.life.claim_look_ups():
            await self.send(work)

    async def send(self, work: Item) -> None:
        order_id = work["order_id"]
        opened = await self.life.open_attempt(order_id)
        if opened["status"] != "ok":
            return
        attempt, size = opened["attempt"], work["size_micros"]
        fate = self.rng.choice(
            ("arrives", "arrives", "answer lost", "dies", "arrives late", "lost", "held", "refused")
        )
        known = order_id in self.venue.orders
        if fate in ("arrives", "answer lost", "dies"):
            known = not self.venue.arrive(order_id, size)
        if fate == "arrives late":
            # 40 s is the slowest appearance known
            late_ms = SEND_BY_MS + self.rng.randrange(40_000)
            self.venue.wire.append((order_id, size, self.now + late_ms / 1000))
        if fate == "arrives":
            await self.life.complete("mark_seen" if known else "acknowledge", order_id, attempt)
        elif fate in ("answer lost", "lost", "arrives late"):
            await self.life.complete("mark_unknown", order_id, attempt)
        elif fate in ("held", "refused"):
            # a refusal of this copy, whatever became of an earlier one
            how = "hold_back" if fate == "held" else "reject"
            await self.life.complete(how, order_id, attempt)

    async def restart(self) -> None:
        """The old one is gone without a word; the next finds what it left."""
        self.starts += 1
        self.life.worker = incarnation(self.starts)
        if self.rng.random() < 0.5:
            await self.pass_time(LEASE_MS)
        await self.sweep()

    async def sweep(self) -> None:
        for name in ("sweep_lapsed", "sweep_expired", "sweep_cancels", "sweep_breaches"):
            await self.life.call(name)

    async def cancels(self) -> None:
        for order_id in await self.life.claim_cancels():
            reached = self.rng.random() < 0.7
            if reached and order_id in self.venue.orders:
                self.venue.orders[order_id].alive = False
            answer = self.rng.choice(("accepted", "refused")) if reached else "unknown"
            await self.life.cancel_answered(order_id, answer)

    async def look_up(self) -> None:
        """Reads by id: found as it is, or absent with the evidence a clean look-up gives."""
        for order in await self.life.call("standing_orders", "main", None, 0):
            order_id = order["order_id"]
            there = self.venue.orders.get(order_id)
            if there is not None:
                ended = "MATCHED" if there.filled == there.size else "CANCELLED"
                status = "LIVE" if there.alive and there.filled < there.size else ended
                await self.life.observe(order_id, status, there.filled, took_ms=0)
            elif order["state"] == "UNKNOWN":
                for kind in ("order_absent", "trades_absent"):
                    await self.life.evidence(order_id, kind)
                await self.life.cancel(order_id)
                await self.life.prove_absent(order_id)

    async def pass_time(self, milliseconds: int) -> None:
        await self.life.clock.advance(milliseconds)
        for order_id, size, until in self.venue.wire:
            if until <= self.now:
                self.venue.arrive(order_id, size)
        self.venue.wire = [item for item in self.venue.wire if item[2] > self.now]

    async def wait(self) -> None:
        quarantine = SEND_BY_MS + REQUEST_TIMEOUT_MS + QUARANTINE_MS
        await self.pass_time(self.rng.choice((100, 1_000, 1_000, 5_000, LEASE_MS, quarantine)))

    # ---- the venue

    async def trade(self) -> None:
        resting = [(i, o) for i, o in self.venue.orders.items() if o.alive and o.filled < o.size]
        if resting:
            order_id, order = self.rng.choice(resting)
            size = min(order.size - order.filled, self.rng.randrange(1, 5) * SHARE)
            order.filled += size
            self.venue.trades += 1
            self.venue.unheard.append(
                {"order_id": order_id, "size": size, "trade_id": f"v{self.venue.trades}"}
            )

    async def hear(self) -> None:
        """Trades told late, in any order, some of them twice."""
        self.rng.shuffle(self.venue.unheard)
        for fill in self.venue.unheard[: self.rng.randrange(4)]:
            status = self.rng.choice(("MATCHED", "CONFIRMED"))
            await self.life.fill(fill["order_id"], fill["size"], status, trade_id=fill["trade_id"])
            if self.rng.random() < 0.7:
                self.venue.unheard.remove(fill)

    async def run(self) -> None:
        steps = [
            self.tick, self.tick, self.place, self.place, self.resend, self.restart, self.sweep,
            self.cancels, self.look_up, self.wait, self.wait, self.trade, self.hear,
            self.replace, self.cancel,
        ]  # fmt: skip
        await self.tick()
        for _ in range(STEPS):
            await self.rng.choice(steps)()
            assert self.venue.at_risk() <= CAP
            exposure = await self.life.exposure()
            held = sum(
                sum(exposure[name])
                for name in (
                    "pending_buy",
                    "open_buy",
                    "awaiting_buy",
                    "provisional_buy",
                    "confirmed",
                )
            )
            assert self.venue.at_risk() <= held <= CAP


@pytest.mark.parametrize("seed", range(8))
async def test_200_shares_cannot_be_produced_under_a_cap_of_100(
    life: Life, module_database: TestDatabase, seed: int
) -> None:
    end = int(life.clock.now.timestamp() * 1000) + 100 * 15 * 60_000
    await life.add_market("m1", window_end_ms=end)
    # one cap for both outcomes together: what is true of the sum is true of each
    await life.limit("max_market_micros", CAP)
    writers = [life.on(await module_database.connect()) for _ in range(3)]
    incident = Incident(life, writers, Venue(), random.Random(seed))
    await incident.run()
    assert await differences(life.conn) == {}
    assert incident.venue.orders, "the run placed nothing, so it showed nothing"
    # nothing was lost either: told everything, the ledger knows what the venue has filled
    for fill in incident.venue.unheard:
        await life.fill(fill["order_id"], fill["size"], trade_id=fill["trade_id"])
    filled = await life.conn.fetchval("SELECT coalesce(sum(traded_micros), 0) FROM ledger.orders")
    assert filled == sum(order.filled for order in incident.venue.orders.values())
