"""The independent auditor before a real database and a real venue's store: what is sound passes, what was changed by
hand does not.

What was asked, and what the venue did, is written down from outside (`tests.support.proof_recorder`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from proof.auditor import Asked, VenueBook, Views, judge
from proof.auditor.collect import (
    PAPER_CANNOT_SHOW,
    read_store,
    read_views_inside,
    venue_of_paper,
    venue_of_store,
    views_of,
)
from proof.auditor.interface import (
    COLUMNS,
    Answer,
    CancelAsked,
    MarketTerms,
    Moved,
    OrderAsked,
)
from tests.support import lived_in
from tests.support.corruptions import BROKEN
from tests.support.database import TestDatabase, empty_database
from tests.support.life import SHARE, market_row, token
from tests.support.proof_recorder import Recorder, answered
from tests.support.servers import TestServer, in_thread
from tests.support.simulator import running_simulator
from tests.support.simulator_client import Trader
from tests.support.worker import Rig, rig_fixture  # noqa: F401

_SCRIPTED = ("cancels_leave_at_once",)
"""The script lets time pass between a cancel and its sending."""

SEEN = {
    "a counter off by one": "exposure_is_what_is_held",
    "a position off by one": "exposure_is_what_is_held",
    "a lost market row": "exposure_is_what_is_held",
    "a reservation released by hand": "every_hold_ends",
    "a reservation released twice": "every_hold_ends",
    "a hold one micro short": "every_hold_ends",
    "an order without its reservation": "every_hold_ends",
    "a fill without order": "anomalies_are_none",
    "a lost fill": "sums_of_orders_are_their_fills",
    "a fill of another size": "every_fill_counted_once",
    "a fill on the other outcome": "every_fill_counted_once",
    "a sale that was paid too well": "every_fill_counted_once",
    "a fill beyond the size": "every_fill_counted_once",
    "a journal gap": "journal_without_gaps",
    "a lost end of the journal": "journal_follows_states",
    "a forged journal row": "journal_follows_states",
    "a state that no transition led to": "journal_follows_states",
    "an order of another size than was asked": "no_intent_lost",
    "a balance off by one": "double_entry",
    "a lost entry": "journal_without_gaps",
    "collateral moved from locked to available": "every_hold_ends",
    "one venue order for two intents": "one_venue_order_per_intent",
    "signed bytes of no order": "anomalies_are_none",
    "a lost key": "keys_are_idempotent",
    "a key bound to another order": "keys_are_idempotent",
    "collateral below zero without a halt": "double_entry",
}
"""Corruptions of `tests.support.corruptions` that show in what the auditor sees, and the invariant that tells them."""


@dataclass(frozen=True)
class Lived:
    """A ledger that has lived, with what was asked of it."""

    database: TestDatabase
    orders: lived_in.Orders
    recorder: Recorder

    @property
    def asked(self) -> Asked:
        return self.recorder.asked


@pytest.fixture(scope="module", name="lived")
def _lived(database_server: TestServer, template_database: str) -> Iterator[Lived]:
    async def work(database: TestDatabase) -> Lived:
        recorder = await Recorder.begin(database)
        assert isinstance(recorder, Recorder)
        try:
            return Lived(database, await lived_in.live(recorder), recorder)
        finally:
            await recorder.conn.close()
            database._opened.remove(recorder.conn)

    with empty_database(database_server, template_database) as database:
        yield in_thread(lambda: asyncio.run(work(database)))


@pytest.fixture(name="conn")
async def _conn(lived: Lived) -> AsyncIterator[asyncpg.Connection]:
    """The owner's, in a transaction that is rolled back."""
    conn = await asyncpg.connect(lived.database.url)
    transaction = conn.transaction()
    await transaction.start()
    yield conn
    await transaction.rollback()
    await conn.close()


async def seen(lived: Lived, conn: asyncpg.Connection) -> Views:
    """What the role auditor can see in this transaction."""
    await conn.execute(f"SET LOCAL ROLE {lived.database.server.role_prefix}auditor")
    return Views(await read_views_inside(conn), at_rest=False)


def book(lived: Lived, views: Views) -> VenueBook:
    return lived.recorder.book(list(views.of("orders")))


async def test_a_ledger_that_has_lived_is_found_sound(
    lived: Lived, conn: asyncpg.Connection
) -> None:
    views = await seen(lived, conn)
    assert len(views.of("orders")) > 25
    assert judge(lived.asked, book(lived, views), views, without=_SCRIPTED) == []


@pytest.mark.parametrize("name", SEEN)
async def test_what_was_changed_by_hand_is_found(
    name: str, lived: Lived, conn: asyncpg.Connection
) -> None:
    whole = book(lived, await seen(lived, conn))
    await conn.execute("RESET ROLE")
    await conn.execute("SET LOCAL session_replication_role = replica")
    for statement in BROKEN[name][0]:
        await conn.execute(statement.format(**vars(lived.orders)))
    told = judge(lived.asked, whole, await seen(lived, conn), without=_SCRIPTED)
    assert SEEN[name] in {sentence.split(":")[0] for sentence in told}


async def test_at_rest_what_is_still_open_is_told(lived: Lived, conn: asyncpg.Connection) -> None:
    views = await seen(lived, conn)
    told = judge(lived.asked, book(lived, views), replace(views, at_rest=True), without=_SCRIPTED)
    broken = {sentence.split(":")[0] for sentence in told}
    assert "nothing_unknown_for_ever" in broken
    unknown = f"order {lived.orders.unknown} of main is unresolved"
    assert any(unknown in sentence for sentence in told)


async def test_a_second_look_finds_the_same_rows(lived: Lived) -> None:
    first = await views_of(lived.database.url_for("auditor"), at_rest=False)
    both = await views_of(lived.database.url_for("auditor"), at_rest=False, before=first)
    assert set(both.rows) == set(COLUMNS)
    whole = book(lived, both)
    assert judge(lived.asked, whole, both, without=_SCRIPTED) == []


def test_the_simulators_store_is_read_as_the_venue_itself_shows_it(tmp_path: Path) -> None:
    with running_simulator(tmp_path, at_ms=1_800_000_000_000) as venue:
        market, trader = venue.market(), Trader(venue, 1, tokens={})
        for price in ("0.45", "0.46", "0.47"):
            trader.post(trader.sign(market.yes, "BUY", price, at_ms=1_800_000_000_000))
        again = trader.sign(market.yes, "BUY", "0.30", at_ms=1_800_000_000_000)
        trader.post(again)
        trader.post(again)
        venue.do("trade", token_id=market.yes, side="SELL", price="0.45", size="12")
        trader.ask("DELETE", "/cancel-all", b"")
        venue.advance(10)
        shown, trades = venue.see("orders"), venue.see("trades")
        address = trader.address
        trader.close()
    found = venue_of_store(read_store(tmp_path / "simulator" / "venue.journal"), {address: "main"})
    assert [order.venue_order_id for order in found.orders] == [one["id"] for one in shown]
    assert {order.account for order in found.orders} == {"main"}
    fills = {
        (fill.trade_id, order.venue_order_id) for order in found.orders for fill in order.fills
    }
    assert fills == {(one["trade_id"], one["order_id"]) for one in trades}
    assert [order.state for order in found.orders].count("cancelled") == 3
    placed = [one for one in found.received if one.kind == "place"]
    assert [one.taken for one in placed] == [True, True, True, True, False]
    assert {one.digest for one in placed} == {order.digest for order in found.orders}
    assert [one.kind for one in found.received][-1] == "cancel_all"


async def test_what_a_real_worker_did_at_a_paper_venue_is_sound_and_a_second_start_changes_nothing(
    rig: Rig,
) -> None:
    asked = Asked()
    await rig.no_burst_limits()
    await rig.markets("m9", fee_rate_micros=50_000)
    row = market_row("m9")
    tokens = (token("m9", 0), token("m9", 1))
    terms = MarketTerms(row["condition_id"], tokens, 50_000)
    asked.markets[terms.market] = terms
    asked.moved.append(Moved(0, "main", "collateral", 1_000 * SHARE, answered_turn=1))
    requests = [rig.request("m9", cents, 5) for cents in (5, 5, 90, 6)]
    requests += [requests[0], requests[1] | {"size_micros": 6 * SHARE}]
    for request in requests:
        begun = time.time_ns()
        [answer] = await rig.ask(request)
        asked.orders.append(_asked(request, answer, begun, time.time_ns()))
    orders = [one.answer.order_id or 0 for one in asked.orders[:4] if one.answer is not None]
    assert len(set(orders)) == 4
    async with rig.inside():
        for order_id in orders:
            await rig.until_state(order_id, "LIVE", "FILLED")
        begun = time.time_ns()
        await rig.cancel(orders[0])
        done = Answer(accepted=True)
        asked.cancels.append(
            CancelAsked(begun, begun // 1_000, "main", orders[0], None, "", time.time_ns(), done)
        )
        await rig.until_state(orders[0], "CANCELLED")
        await rig.until_state(orders[2], "FILLED")
        await rig.until_resolved()
    url = rig.database.url_for("auditor")
    before = await views_of(url, at_rest=True)
    started = await rig.incarnations()
    async with rig.inside():
        await rig.ready(started)
        await rig.until_resolved()
    views = await views_of(url, at_rest=True, before=before)
    async with rig.owner.acquire() as conn:
        whole = await venue_of_paper(conn)
    assert len(whole.orders) == 4
    assert judge(asked, whole, views, without=PAPER_CANNOT_SHOW) == []
    # and it would have told: the venue has one more
    stranger = replace(whole.orders[0], venue_order_id="0xstranger", salt="1")
    more = VenueBook([*whole.orders, stranger], whole.received)
    told = judge(asked, more, views, without=PAPER_CANNOT_SHOW)
    assert {one.split(":")[0] for one in told} >= {
        "one_venue_order_per_intent",
        "converges_to_the_venue",
    }


def _asked(request: dict[str, Any], answer: dict[str, Any], begun: int, told: int) -> OrderAsked:
    return OrderAsked(
        begun,
        begun // 1_000,
        "main",
        request["key"],
        market_row(request["market"])["condition_id"],
        0,
        request["side"],
        request["price_micros"],
        request["size_micros"],
        answered_turn=told,
        answer=answered(answer),
    )
