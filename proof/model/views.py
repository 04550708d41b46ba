"""The public views, with the columns that the auditor reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from proof.model.tables import ENDED, Order, Tables
from proof.model.values import jsonb, moment

Row = dict[str, Any]
_EARLY: Final = ("RESERVED", "PREPARED", "HELD_BACK", "SENDING", "UNKNOWN")
_WHY: Final = {
    "SENDING": "an attempt is open",
    "UNKNOWN": "no definite answer; only evidence ends this",
    "DELAYED": "held by the venue's matching delay",
}


def _name(t: Tables) -> str:
    return t.account.name if t.account is not None else ""


def _orders(t: Tables) -> list[Row]:
    return [_order(t, o) for o in t.orders.values()]


def _order(t: Tables, o: Order) -> Row:
    r = t.reservations[o.order_id]
    return {
        "account": _name(t),
        "order_id": o.order_id,
        "key": o.key,
        "market": t.markets[o.market_id].condition_id,
        "outcome": o.outcome,
        "token_id": o.token_id,
        "venue_order_id": o.venue_order_id,
        "side": o.side,
        "price_micros": o.price_micros,
        "size_micros": o.size_micros,
        "order_type": o.order_type,
        "state": o.state,
        "ended": o.state in ENDED,
        "cause": o.cause,
        "cancel_asked_at": moment(o.cancel_asked_at),
        "replaces_order_id": o.replaces_order_id,
        "attempts": o.attempts,
        "seen_at_venue": o.seen_at_venue,
        "fate_open": o.fate_open,
        "matched_micros": o.matched,
        "traded_micros": o.traded_micros,
        "confirmed_micros": o.confirmed_micros,
        "failed_micros": o.failed_micros,
        "phase": r.phase,
        "remaining_micros": r.shares_micros,
        "awaiting_micros": r.awaiting_micros,
        "held_asset": r.asset,
        "held_micros": r.held_micros,
        "released_at": moment(r.released_at),
    }


def _fills(t: Tables) -> list[Row]:
    return [
        {
            "account": _name(t),
            "trade_id": f.trade_id,
            "order_id": f.order_id,
            "market": t.markets[f.market_id].condition_id,
            "outcome": f.outcome,
            "side": f.side,
            "price_micros": f.price_micros,
            "size_micros": f.size_micros,
            "cash_micros": f.cash_micros,
            "fee_micros": f.fee_micros,
            "settlement": f.settlement,
            "venue_order_id": t.orders[f.order_id].venue_order_id,
        }
        for f in t.fills.values()
    ]


def _journal(t: Tables) -> list[Row]:
    return [row | {"detail": jsonb(row["detail"])} for row in t.journal]


def _entries(t: Tables) -> list[Row]:
    return [dict(row) for row in t.entries]


def _balances(t: Tables) -> list[Row]:
    return [
        {
            "account": _name(t),
            "asset": asset,
            "available_micros": b.available,
            "locked_micros": b.locked,
            "total_micros": b.available + b.locked,
        }
        for asset, b in t.balances.items()
    ]


def _contra(t: Tables) -> list[Row]:
    return [
        {"account": _name(t), "asset": asset, "contra": contra, "amount_micros": amount}
        for (asset, contra), amount in t.contra.items()
    ]


def _exposure(t: Tables) -> list[Row]:
    rows = []
    for lane in t.lanes.values():
        m = t.markets[lane.market_id]
        for i, token in enumerate(m.tokens):
            selling = lane.provisional_sell[i] + lane.awaiting_sell[i]
            selling += lane.open_sell[i] + lane.pending_sell[i]
            rows.append(
                {
                    "account": _name(t),
                    "market": m.condition_id,
                    "outcome": i,
                    "token_id": token,
                    "position_micros": lane.confirmed[i],
                    "provisional_buy_micros": lane.provisional_buy[i],
                    "awaiting_buy_micros": lane.awaiting_buy[i],
                    "open_buy_micros": lane.open_buy[i],
                    "pending_buy_micros": lane.pending_buy[i],
                    "effective_micros": lane.effective(i),
                    "provisional_sell_micros": lane.provisional_sell[i],
                    "awaiting_sell_micros": lane.awaiting_sell[i],
                    "open_sell_micros": lane.open_sell[i],
                    "pending_sell_micros": lane.pending_sell[i],
                    "sellable_micros": lane.confirmed[i] - selling,
                    "open_orders": lane.open_orders,
                }
            )
    return rows


def _idempotency(t: Tables) -> list[Row]:
    rows = []
    for key, bound in t.keys.items():
        row: Row = {"account": _name(t), "key": key, "kind": bound.kind}
        if bound.kind == "replacement":
            q = t.replacements[bound.subject_id]
            row |= {"order_id": q.new_order_id, "replaces_order_id": q.old_order_id}
        else:
            row |= {"order_id": bound.subject_id, "replaces_order_id": None}
        rows.append(row)
    return rows


def _outbox(t: Tables) -> list[Row]:
    return [
        {
            "account": _name(t),
            "order_id": b.order_id,
            "status": b.status,
            "cancel_status": t.cancels[b.order_id].status if b.order_id in t.cancels else None,
        }
        for b in t.outbox.values()
    ]


def _unresolved(t: Tables) -> list[Row]:
    rest = "matched at the venue, its trades are not all seen"
    return [
        {
            "account": _name(t),
            "order_id": o.order_id,
            "state": o.state,
            "why": rest if o.state in ENDED else _WHY.get(o.state, rest),
        }
        for o in t.orders.values()
        if o.state in _WHY or t.reservations[o.order_id].awaiting_micros > 0
    ]


def _intents(t: Tables) -> list[Row]:
    rows: list[Row] = [
        {"account": _name(t), "kind": "order", "order_id": o.order_id, "anomaly": False}
        for o in t.orders.values()
        if o.state in _EARLY and not o.seen_at_venue
    ]
    for q in t.replacements.values():
        if q.state == "waiting":
            over = t.orders[q.old_order_id].state in ENDED
            told = {"kind": "replacement", "order_id": q.old_order_id, "anomaly": over}
            rows.append({"account": _name(t)} | told)
    return rows


def _none(_t: Tables) -> list[Row]:
    """No foreign order and no withdrawal is modelled: where one comes up, the model refuses."""
    return []


VIEWS: Final[dict[str, Callable[[Tables], list[Row]]]] = {
    "orders": _orders,
    "fills": _fills,
    "journal": _journal,
    "balances": _balances,
    "balance_entries": _entries,
    "contra": _contra,
    "exposure": _exposure,
    "idempotency": _idempotency,
    "outbox": _outbox,
    "unresolved": _unresolved,
    "orders_without_intent": _none,
    "intents_without_order": _intents,
    "withdrawals": _none,
}
