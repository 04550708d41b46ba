"""Brings the auditor what it looks at: the public views of a real database, and the venue's book from its own store.

The views are read as the role auditor, in one snapshot. The venue's book comes from the simulator's store (a file of
commands, replayed here, so that what was received is known as well) or from the paper venue's schema. The paper venue
keeps no list of requests: it shows orders, trades and ends, and how often an order arrived, and no cancels.

Turns of the venue are the nanoseconds of its clock, which knows milliseconds; ``turn_of`` maps them to another scale.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import asyncpg

from app.venue.matching import BACKGROUND, OrderStatus
from app.venue.simulator.orders import read_order
from app.venue.simulator.records import OrderRecord
from app.venue.simulator.settings import Settings
from app.venue.simulator.venue import Venue
from proof.auditor.index import MICROS
from proof.auditor.interface import (
    COLUMNS,
    Received,
    Row,
    VenueBook,
    VenueFill,
    VenueOrder,
    Views,
)

TurnOf = Callable[[int], int]
"""From milliseconds of the venue's clock."""

_STATES = {
    OrderStatus.LIVE: "live",
    OrderStatus.MATCHED: "matched",
    OrderStatus.CANCELED: "cancelled",
    OrderStatus.EXPIRED: "expired",
}


def nanoseconds(at_ms: int) -> int:
    return at_ms * 1_000_000


# ---- the ledger


async def read_views(conn: asyncpg.Connection) -> dict[str, list[Row]]:
    """Every view the auditor needs, in one snapshot. Any role that may read the views will do."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        return await read_views_inside(conn)


async def read_views_inside(conn: asyncpg.Connection) -> dict[str, list[Row]]:
    """The same in the caller's transaction."""
    found: dict[str, list[Row]] = {}
    for view, columns in COLUMNS.items():
        query = " ".join(("SELECT", columns.replace(" ", ", "), "FROM", "audit." + view))
        found[view] = [dict(row) for row in await conn.fetch(query)]
    return found


async def views_of(url: str, *, at_rest: bool, before: Views | None = None) -> Views:
    """Over a connection of its own. ``before``: what was read before a second start, to be compared with now."""
    conn = await asyncpg.connect(url)
    try:
        rows = await read_views(conn)
    finally:
        await conn.close()
    if before is None:
        return Views(rows, at_rest=at_rest)
    return Views(before.rows, at_rest=at_rest, second_start=rows, excused=before.excused)


# ---- the simulator's store


class _Hearing(Venue):
    """A venue that remembers each request, as it was carried out and with what it answered."""

    def __init__(self) -> None:
        super().__init__(Settings())
        self.heard: list[tuple[int, dict[str, Any], frozenset[str], Any]] = []

    def _do_call(self, command: dict[str, Any]) -> Any:
        there = frozenset(self.exchange.orders)
        response = super()._do_call(command)
        self.heard.append((self.at_ms, command, there, response))
        return response


def read_store(path: Path) -> list[dict[str, Any]]:
    """The commands of a simulator's journal; a torn end, which nobody was answered, is left out."""
    commands: list[dict[str, Any]] = []
    for line in path.read_bytes().splitlines(keepends=True):
        text = line[9:-1]
        if not line.endswith(b"\n") or line[:9] != b"%08x " % zlib.crc32(text):
            break
        commands.append(json.loads(text))
    return commands


def venue_of_store(
    commands: Iterable[dict[str, Any]],
    names: Mapping[str, str],
    *,
    foreign: frozenset[str] = frozenset(),
    turn_of: TurnOf = nanoseconds,
) -> VenueBook:
    """The book of a simulator after these commands. ``names``: what the ledger calls the account of an address."""
    venue = _Hearing()
    for command in commands:
        venue.apply(command)
        venue.drain()
    orders = [
        _order(venue, record, names, foreign, turn_of)
        for record in venue.exchange.orders.values()
        if record.order.status is not OrderStatus.INVALID
    ]
    received: list[Received] = []
    for at_ms, command, there, response in venue.heard:
        account = names.get(command["acct"], command["acct"])
        received += _requests(venue, command, account, at_ms, turn_of(at_ms), there, response)
    return VenueBook(orders, received)


def _order(
    venue: Venue,
    record: OrderRecord,
    names: Mapping[str, str],
    foreign: frozenset[str],
    turn_of: TurnOf,
) -> VenueOrder:
    order = record.order
    live = record.live
    last = record.history[-1][0] if record.history else record.created_ms
    body = json.loads(record.body)
    signed = body.get("order", body)
    ended_ms = None if live else last
    return VenueOrder(
        venue_order_id=order.order_id,
        salt=str(signed.get("salt", "")),
        digest=_digest(signed),
        account=names.get(order.account, order.account),
        market=record.condition_id,
        token_id=order.token_id,
        side=order.side.value,
        price_micros=order.price_micros,
        size_micros=order.size_micros,
        matched_micros=order.matched_micros,
        state="live" if live else _STATES.get(order.status, "cancelled"),
        turn=turn_of(record.created_ms),
        at_us=record.created_ms * 1000,
        ended_turn=None if ended_ms is None else turn_of(ended_ms),
        ended_us=None if ended_ms is None else ended_ms * 1000,
        fills=tuple(_fills(venue, record, turn_of)),
        foreign=order.order_id in foreign,
    )


def _fills(venue: Venue, record: OrderRecord, turn_of: TurnOf) -> Iterable[VenueFill]:
    for trade_id in record.trades:
        known = venue.exchange.trades[trade_id]
        trade = known.trade
        for part in trade.parts:
            if part.account == BACKGROUND or part.order_id != record.order.order_id:
                continue
            own = trade.token_id == record.order.token_id
            yield VenueFill(
                trade_id=trade_id,
                price_micros=trade.price_micros if own else MICROS - trade.price_micros,
                size_micros=part.size_micros,
                fee_micros=part.fee_micros,
                status=trade.status.value,
                turn=turn_of(trade.matched_at_ms),
                at_us=trade.matched_at_ms * 1000,
                final_turn=turn_of(known.updated_ms) if trade.settled else None,
            )


def _requests(
    venue: Venue,
    command: dict[str, Any],
    account: str,
    at_ms: int,
    turn: int,
    there: frozenset[str],
    response: Any,
) -> list[Received]:
    endpoint, at_us = command["ep"], at_ms * 1000
    try:
        body = json.loads(command["body"]) if command["body"] else None
    except ValueError:
        return []
    if endpoint in ("POST /order", "POST /orders"):
        placed = body if isinstance(body, list) else [body]
        return [
            made
            for one in placed
            for made in _placement(venue, one, account, at_us, turn, there, response)
        ]
    if endpoint == "DELETE /cancel-all":
        return [Received(turn, at_us, account, "cancel_all", refusal=_refusal(response))]
    if endpoint == "DELETE /cancel-market-orders":
        market = (body or {}).get("market")
        kind = "cancel_market"
        return [Received(turn, at_us, account, kind, None, market, refusal=_refusal(response))]
    if endpoint not in ("DELETE /order", "DELETE /orders"):
        return []
    ids = body if isinstance(body, list) else [(body or {}).get("orderID")]
    done = response.value.get("canceled", []) if isinstance(response.value, dict) else []
    return [
        Received(
            turn,
            at_us,
            account,
            "cancel",
            order_id,
            _market_of(venue, order_id),
            taken=order_id in done,
            refusal=_refusal(response),
        )
        for order_id in ids
    ]


def _market_of(venue: Venue, order_id: str | None) -> str | None:
    record = venue.exchange.orders.get(order_id or "")
    return None if record is None else record.condition_id


def _refusal(response: Any) -> str:
    return "" if response.status == 200 else str(response.status)


def _placement(
    venue: Venue,
    body: Any,
    account: str,
    at_us: int,
    turn: int,
    there: frozenset[str],
    response: Any,
) -> list[Received]:
    submitted = read_order(body, venue.settings.chain_id, venue.exchange.market_of)
    if isinstance(submitted, str):
        return []
    record = venue.exchange.orders.get(submitted.order_id)
    invalid = record is not None and record.order.status is OrderStatus.INVALID
    taken = record is not None and not invalid and submitted.order_id not in there
    market = venue.exchange.market_of(submitted.token_id)
    order = submitted.order(account)
    signed = body.get("order", body)
    return [
        Received(
            turn,
            at_us,
            account,
            "place",
            submitted.order_id,
            market.condition_id if market is not None else None,
            digest=_digest(signed),
            salt=str(signed.get("salt", "")),
            size_micros=order.size_micros,
            price_micros=order.price_micros,
            taken=taken,
            refusal="" if taken else _refusal(response) or "refused",
        )
    ]


def _digest(signed: Mapping[str, Any]) -> str:
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


# ---- the paper venue's schema


async def venue_of_paper(
    conn: asyncpg.Connection,
    *,
    foreign: frozenset[str] = frozenset(),
    turn_of: TurnOf = nanoseconds,
) -> VenueBook:
    """The book of the paper venue. Its accounts bear the ledger's names. For the owner or the worker's role."""
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        orders = await conn.fetch(
            "SELECT o.*, b.condition_id FROM paper.venue_order o LEFT JOIN paper.book b USING (token_id)"
        )
        parts = await conn.fetch(
            "SELECT t.*, p.* FROM paper.trade t JOIN paper.trade_part p USING (trade_id)"
        )
        ends = await conn.fetch(
            "SELECT payload ->> 'id' AS id, max(at_ms) AS at_ms FROM paper.event "
            "WHERE payload ->> 'event_type' = 'order' GROUP BY 1"
        )
    ended = {row["id"]: int(row["at_ms"]) for row in ends}
    fills: dict[str, list[VenueFill]] = {}
    for row in parts:
        fills.setdefault(row["venue_order_id"], []).append(_paper_fill(row, turn_of))
    book = VenueBook()
    for row in orders:
        if row["status"] == "INVALID":
            continue
        last = ended.get(row["venue_order_id"], row["received_at_ms"])
        of = tuple(fills.get(row["venue_order_id"], ()))
        known = row["venue_order_id"] in foreign
        order = _paper_order(row, of, None if row["status"] == "LIVE" else last, known, turn_of)
        book.orders.append(order)
        for _ in range(row["times_received"]):
            book.received.append(_paper_request(order))
    return book


def _paper_fill(row: Any, turn_of: TurnOf) -> VenueFill:
    return VenueFill(
        trade_id=row["trade_id"],
        price_micros=row["price_micros"],
        size_micros=row["size_micros"],
        fee_micros=row["fee_micros"],
        status=row["status"],
        turn=turn_of(row["matched_at_ms"]),
        at_us=row["matched_at_ms"] * 1000,
    )


def _paper_order(
    row: Any, fills: tuple[VenueFill, ...], ended_ms: int | None, foreign: bool, turn_of: TurnOf
) -> VenueOrder:
    return VenueOrder(
        venue_order_id=row["venue_order_id"],
        salt=row["salt"],
        digest=hashlib.sha256(row["body"]).hexdigest(),
        account=row["account"],
        market=row["condition_id"],
        token_id=row["token_id"],
        side=row["side"],
        price_micros=row["price_micros"],
        size_micros=row["size_micros"],
        matched_micros=row["matched_micros"],
        state=_STATES[OrderStatus(row["status"])],
        turn=turn_of(row["received_at_ms"]),
        at_us=row["received_at_ms"] * 1000,
        ended_turn=None if ended_ms is None else turn_of(ended_ms),
        ended_us=None if ended_ms is None else ended_ms * 1000,
        fills=fills,
        foreign=foreign,
    )


def _paper_request(order: VenueOrder) -> Received:
    return Received(
        order.turn,
        order.at_us,
        order.account,
        "place",
        order.venue_order_id,
        order.market,
        digest=order.digest,
        salt=order.salt,
        size_micros=order.size_micros,
        price_micros=order.price_micros,
    )


PAPER_CANNOT_SHOW = ("cancels_leave_at_once", "nothing_unwanted_is_sent")
"""Invariants to leave out with a paper venue, which keeps no list of what it received."""
