"""The paper venue keeps its state in rows; the core in memory must come to the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files

import asyncpg
import pytest

from app.clock import AsyncioTasks, Ports, SeededRng, SystemClock
from app.money import MICROS
from app.venue.interface import OrderType, PlaceRequest, Side
from app.venue.matching import Event, Exchange, Order, Rules, made_up_mid, new_book
from app.venue.paper import PaperBook, PaperVenue, Quote
from app.venue.paper.answers import place_outcome
from app.venue.paper.body import Received
from app.venue.paper.frames import frames_of
from tests.support.database import TestDatabase

SEED, CENT, TOKENS = 11, 10_000, ("1001", "1002")
RULES = Rules(fail_ppm=150_000, retry_ppm=150_000)


class TestClock(SystemClock):
    """Stands still until it is moved."""

    __test__ = False
    ms = 1_700_000_000_000

    def now_ms(self) -> int:
        return self.ms


@pytest.fixture(name="pool")
async def _pool(blank_database: TestDatabase) -> AsyncIterator[asyncpg.Pool]:
    conn = await blank_database.connect()
    schema = files("app.venue.paper").joinpath("sql/schema.sql").read_text()
    await conn.execute("CREATE SCHEMA paper;" + schema)
    pool = await asyncpg.create_pool(blank_database.url, min_size=1, max_size=2)
    yield pool
    pool.terminate()


def some_order(rng: SeededRng, number: int, now_ms: int) -> Order:
    kind = list(OrderType)[rng.bits(8) % 4]
    return Order(
        f"0x{number:064x}",
        "ab"[rng.bits(1)],
        TOKENS[rng.bits(1)],
        list(Side)[rng.bits(1)],
        (1 + rng.bits(10) % 99) * CENT,
        (4 + rng.bits(5)) * MICROS,
        kind,
        rng.bits(2) == 0 and kind in (OrderType.GTC, OrderType.GTD),
        now_ms + 64_000 if kind is OrderType.GTD else 0,
    )


def in_memory() -> Exchange:
    exchange = Exchange(RULES)
    mid = made_up_mid(SEED, "0xc", CENT)
    for token, its_mid in zip(TOKENS, (mid, MICROS - mid), strict=True):
        exchange.add(new_book(SEED, token, "0xc", CENT, 5 * MICROS, mid_micros=its_mid))
    return exchange


def quotes_of(exchange: Exchange, token: str) -> list[Quote]:
    book = exchange.books[token]
    quotes = [
        Quote(lv.side, lv.base_price_micros + book.shift_micros, lv.size_micros)
        for lv in book.levels
        if lv.size_micros
    ]
    sign = {Side.BUY: -1, Side.SELL: 1}
    return sorted(quotes, key=lambda q: (q.side, sign[q.side] * q.price_micros))


@pytest.mark.parametrize("chance", [1, 2, 3, 4])
async def test_rows_and_memory_come_to_the_same(pool: asyncpg.Pool, chance: int) -> None:
    clock, rng, exchange = TestClock(), SeededRng(chance), in_memory()
    orders: dict[bytes, Order] = {}

    def stand_in(account: str, body: bytes, _: object) -> Received:
        return Received(orders[body].order_id, account, body, orders[body])

    ports = Ports(clock, rng, AsyncioTasks())
    venue = PaperVenue(pool, ports, seed=SEED, hash_body=lambda body: body.decode(), rules=RULES)
    await venue.register_market("0xc", TOKENS, CENT, 5 * MICROS)
    told: list[str] = []

    def tell(events: tuple[Event, ...]) -> None:
        told.extend(frame for event in events for _, frame in frames_of(event, clock.ms))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.venue.paper.venue.read_body", stand_in)
        for number in range(150):
            order = some_order(rng, number - rng.bits(3) % 2, clock.ms)
            body = str(number).encode()
            orders[body] = order
            answer, events = exchange.place(order, clock.ms)
            tell(events)
            (outcome,) = await venue.place(order.account, [PlaceRequest("", body)])
            assert outcome == place_outcome(order.order_id, answer)
            if rng.bits(2) == 0:
                gone = f"0x{number - rng.bits(4):064x}"
                tell(exchange.cancel(order.account, gone, clock.ms)[1])
                await venue.cancel(order.account, [gone])
            clock.ms += rng.bits(10)
            if rng.bits(1):
                tell(exchange.step(clock.ms))
                await venue.step()

    rows = await pool.fetch("SELECT payload::text FROM paper.event ORDER BY seq")
    assert sorted(row["payload"] for row in rows) == sorted(told)
    assert len(told) > 150
    for token in TOKENS:
        assert await PaperBook(pool).quotes(token) == quotes_of(exchange, token)
