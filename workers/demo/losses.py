"""What was promised or has happened and is not where it should be: orders and fills. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from app.venue.paper import PaperOrder
from workers.demo.facts import Facts, OrderRow, Problem
from workers.demo.records import Answer

DUST_MICROS: Final = 10_000
"""An order filled but for less than a hundredth of a share counts as filled."""


def find_lost_orders(facts: Facts, admitted: Mapping[str, Answer]) -> list[Problem]:
    rows = {order.order_id: order for order in facts.orders}
    book = {order.venue_order_id: order for order in facts.book}
    salts = {order.salt for order in facts.book if order.status != "INVALID"}
    problems = []
    for key, answer in admitted.items():
        row = rows.get(answer.order_id)
        if row is None or row.key != key:
            problems.append(Problem("lost", key, f"order {answer.order_id} is not in the ledger"))
            continue
        why = _why_lost(row, book.get(row.venue_order_id), salts)
        if why is not None:
            problems.append(Problem("lost", key, f"order {row.order_id} {row.state}: {why}"))
    return problems


def _why_lost(row: OrderRow, theirs: PaperOrder | None, salts: set[str]) -> str | None:
    """Why the end (or the standing) of this order is not what the venue says, or None if it is."""
    if not row.at_venue:
        if not row.ended:
            return "it ended neither at the venue nor provably not placed"
        if row.salt in salts:
            return "it counts as not placed, and the venue has it"
        return None
    if theirs is None:
        return "the venue's book does not have it"
    if theirs.status == "INVALID":
        # Killed on arrival. Whether a read or the answer told so first, it never stood nor filled.
        killed = row.state == "CANCELLED" and row.matched_micros == 0
        return None if killed else "the venue killed it on arrival"
    if theirs.matched_micros != row.matched_micros:
        return f"the venue matched {theirs.matched_micros}, the ledger {row.matched_micros}"
    filled = row.size_micros - theirs.matched_micros < DUST_MICROS
    fits = {
        "LIVE": theirs.status == "LIVE",
        "FILLED": filled,
        "CANCELLED": theirs.status == "CANCELED",
        "EXPIRED": theirs.status == "CANCELED_EXPIRED_ORDER",
    }[row.state]
    return None if fits else f"the venue says {theirs.status}, {theirs.matched_micros} matched"


def find_lost_fills(facts: Facts) -> list[Problem]:
    ours = {(one.trade_id, one.venue_order_id): one for one in facts.fills}
    theirs = {(one.trade_id, one.venue_order_id): one for one in facts.trades}
    problems = []
    for key, trade in theirs.items():
        fill = ours.get(key)
        if fill is None:
            problems.append(
                Problem("lost", "/".join(key), "a fill of the venue is not in the ledger")
            )
        elif (fill.size_micros, fill.price_micros, fill.status) != (
            trade.size_micros,
            trade.price_micros,
            trade.status,
        ):
            problems.append(
                Problem("lost", "/".join(key), f"the venue has {trade}, the ledger {fill}")
            )
    return problems + [
        Problem("lost", "/".join(key), "a fill of the ledger is not in the venue's book")
        for key in ours.keys() - theirs.keys()
    ]
