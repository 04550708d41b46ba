"""What happened at the venue: how an order looks there, and our part of each trade. Any order gives the same."""

from __future__ import annotations

from copy import copy
from typing import Any, Final

from proof.model.cancels import hasten_cancel
from proof.model.evidence import sighted
from proof.model.settling import cost_of, halt_once, journal, lane_time, ok, order_of, settle
from proof.model.tables import Fill, Order, Tables
from proof.model.values import NotModelled, ceil_div, in_json, items_of, refusal, whole

Item = dict[str, Any]
_RANK: Final = {"CONFIRMED": 4, "FAILED": 3, "MINED": 2, "RETRYING": 2}
_DEAD: Final = ("CANCELLED", "EXPIRED", "REJECTED")
_OPEN: Final = ("PREPARED", "SENDING", "HELD_BACK", "UNKNOWN", "REJECTED", "NOT_PLACED")
_ENDS: Final = ("CANCELLED", "EXPIRED", "FILLED")
DUST: Final = 10_000


def _order_at_venue(t: Tables, x: Item) -> Order:
    if t.account is None or x.get("account") != t.account.name:
        raise NotModelled("a fact about an account that there is not")
    order_id = t.by_venue_id.get(str(x.get("venue_order_id")).lower())
    if order_id is None:
        raise NotModelled(f"an order at the venue that no intent explains: {x}")
    found = order_of(t, order_id)
    assert found is not None
    return found


def observe_orders(t: Tables, p_items: str) -> list[Item]:
    entered = t.now
    return [_observe(t, i, x, entered) for i, x in enumerate(items_of(p_items))]


def _observe(t: Tables, i: int, x: Item, entered: int) -> Item:
    o, matched = _order_at_venue(t, x), whole(x.get("size_matched_micros"))
    if matched is None or matched < 0:
        words = "size_matched_micros must be a whole number; nothing was changed"
        return refusal(i, "BAD_REQUEST", words)
    now = lane_time(t, o.market_id)
    before = copy(o)
    o.size_matched_micros = max(o.size_matched_micros, matched)
    o.seen_at_venue = True
    hasten_cancel(t, o)
    event = _event_of(o, before, x, entered)
    if event is None:
        if x.get("status") != "REJECTED":
            sighted(t, o, now)
        return ok(i, o.order_id, o.state)
    told = {"source": x.get("source"), "status": x.get("raw_status")}
    told["matched"] = o.size_matched_micros
    return ok(i, o.order_id, settle(t, o, event, x.get("raw_status") or "", now, told))


def _event_of(o: Order, before: Order, x: Item, entered: int) -> str | None:
    """Which event an observation is, or nothing if it says nothing new."""
    status, read, took = x.get("status"), x.get("source") == "read", whole(x.get("took_ms"))
    dead, matched = status in _DEAD, o.matched
    grown = o.size_matched_micros != before.size_matched_micros
    news = grown or not before.seen_at_venue or o.state in _OPEN
    if o.state == "REJECTED" and dead and matched == 0:
        return None
    dust = read and status == "MATCHED" and o.size_micros - matched < DUST
    if matched >= o.size_micros or dust:
        return "FILL_ALL" if news or o.state != "FILLED" else None
    if read and status in ("CANCELLED", "REJECTED", "MATCHED"):
        return "END_CANCELLED" if news or o.state not in _ENDS else None
    if read and status == "EXPIRED":
        return "END_EXPIRED" if news or o.state not in _ENDS else None
    # Only a look-up that began after the end was recorded may contradict it.
    later = took is not None and entered - took * 1_000 > o.state_at
    if read and later and status == "LIVE" and o.state in ("CANCELLED", "EXPIRED"):
        return "REOPEN"
    if not read and dead and not grown:
        return None
    if news or (status == "LIVE" and o.state == "DELAYED"):
        return "SEE"
    return None


# --- trades -------------------------------------------------------------------------------------------


def record_fills(t: Tables, p_items: str) -> list[Item]:
    return [_record(t, i, x) for i, x in enumerate(items_of(p_items))]


def _record(t: Tables, i: int, x: Item) -> Item:
    o = _order_at_venue(t, x)
    size, price = whole(x.get("size_micros")), whole(x.get("price_micros"))
    fee = 0 if x.get("fee_micros") is None else whole(x["fee_micros"])
    fine = size is not None and size > 0 and price is not None and 0 <= price <= 1_000_000
    if not fine or fee is None or fee < 0 or not x.get("trade_id"):
        raise NotModelled(f"a trade whose numbers cannot be read: {x}")
    return _fill(t, i, o, x)


def _cash_of(f: Fill) -> int:
    """A BUY pays when matched and gets it back when failed; a SELL is paid when confirmed."""
    if f.side == "BUY":
        return -(f.cash_micros + f.fee_micros) if f.settlement != "failed" else 0
    return f.cash_micros - f.fee_micros if f.settlement == "confirmed" else 0


def _counts(f: Fill) -> bool:
    return f.settlement != "failed" if f.side == "BUY" else f.settlement == "confirmed"


def _told(f: Fill) -> dict[str, Any]:
    return {
        "trade": f.trade_id,
        "size": f.size_micros,
        "price": f.price_micros,
        "fee": f.fee_micros,
        "settlement": f.settlement,
        "status": f.raw_status,
        "maker": f.is_maker,
        "matched_at": in_json(f.matched_at),
        "contradicted_at": in_json(f.contradicted_at),
    }


def _new_fill(o: Order, x: Item, now: int) -> Fill:
    size, price, at_ms = x["size_micros"], x["price_micros"], whole(x.get("matched_at_ms"))
    cash = cost_of(price, size) if o.side == "BUY" else price * size // 1_000_000
    matched_at = now if at_ms is None or not 0 <= at_ms <= 4_102_444_800_000 else at_ms * 1_000
    raw = x.get("raw_status")
    raw = x.get("status") or "" if raw is None else raw
    maker = x.get("is_maker") is True
    whose = (x["trade_id"], o.order_id, o.market_id, o.outcome, o.side)
    return Fill(*whose, size, price, cash, maker, matched_at, raw)


def _hear(old: Fill, x: Item, now: int) -> Fill:
    """The fill after one more report of its trade."""
    f, status, fee = copy(old), x.get("status") or "", whole(x.get("fee_micros")) or 0
    rank = _RANK.get(status, 1)
    if fee > 0 and (rank > f.fee_rank or (rank == f.fee_rank and fee > f.fee_micros)):
        f.fee_micros, f.fee_rank = fee, rank
    if (status, f.settlement) in (("CONFIRMED", "failed"), ("FAILED", "confirmed")):
        f.contradicted_at = now if f.contradicted_at is None else f.contradicted_at
    raw = x.get("raw_status")
    if status == "CONFIRMED" and f.settlement != "confirmed":
        f.settlement, f.settled_at, f.raw_status = "confirmed", now, status if raw is None else raw
    elif status == "FAILED" and f.settlement == "provisional":
        f.settlement, f.settled_at, f.raw_status = "failed", now, status if raw is None else raw
    return f


def basis_after(basis: int, held: int, moved: int, cost: int, *, undone: bool = False) -> int:
    """What a position cost, after shares came or went."""
    remain = held + moved
    if remain <= 0:
        return 0
    if moved > 0 and held < 0:
        return ceil_div(cost * remain, moved)
    if undone:
        return min(basis, max(basis + cost, ceil_div(basis * remain, held)))
    if moved >= 0:
        return max(basis + cost, 0)
    return basis - basis * -moved // held


def _count_cost(t: Tables, o: Order, old: Fill | None, new: Fill) -> None:
    """The difference that a fill makes to what was bought and sold, and to what the position cost."""
    cash = _cash_of(new) - (_cash_of(old) if old is not None else 0)
    size = new.size_micros * _counts(new)
    size -= old.size_micros * _counts(old) if old is not None else 0
    if cash == 0 and size == 0:
        return
    lane, i = t.lanes[o.market_id], o.outcome
    held, basis = lane.bought[i] - lane.sold[i], lane.basis[i]
    if o.side == "BUY":
        if size < 0 and lane.sold[i] == 0:
            lane.basis[i] += max(-cash, -basis)
        else:
            lane.basis[i] = basis_after(basis, held, size, -cash, undone=size < 0)
        lane.bought[i] += size
    else:
        lane.basis[i] = basis_after(basis, held, -size, 0)
        lane.sold[i] += size
    t.traded_net += cash


def _fill(t: Tables, i: int, o: Order, x: Item) -> Item:
    now, place = lane_time(t, o.market_id), (x["trade_id"], o.order_id)
    known = t.fills.get(place)
    old, cash, provisional = known, 0, 0
    if old is None:
        old = _new_fill(o, x, now)
        o.traded_micros += old.size_micros
    else:
        cash = -_cash_of(old)
        provisional = -old.size_micros if old.settlement == "provisional" else 0
        if (old.size_micros, old.price_micros) != (x["size_micros"], x["price_micros"]):
            halt_once(t, "market", str(o.market_id), f"TRADE_CHANGED: {old.trade_id}")
    f = _hear(old, x, now)
    if f.contradicted_at != old.contradicted_at:
        theirs = {"ours": old.settlement, "theirs": str(x.get("status")).lower()}
        told = _told(f) | theirs
        journal(t, o.market_id, "SETTLEMENT_CONTRADICTED", o.order_id, None, o.state, o.state, told)
        halt_once(t, "market", str(o.market_id), f"CONFIRMED_AFTER_FAILED: {f.trade_id}")
    _count_cost(t, o, known, f)
    t.fills[place] = f
    unchanged = (f.settlement, f.fee_micros) == (old.settlement, old.fee_micros)
    if known is not None and unchanged:
        return ok(i, o.order_id, o.state) | {"replay": True}
    cash += _cash_of(f)
    fee = f.fee_micros * _counts(f) - (old.fee_micros * _counts(old) if known is not None else 0)
    provisional += f.size_micros if f.settlement == "provisional" else 0
    confirmed = f.settlement == "confirmed" and old.settlement != "confirmed"
    failed = (f.settlement == "failed") - (old.settlement == "failed")
    o.confirmed_micros += f.size_micros * confirmed
    o.failed_micros += f.size_micros * failed
    o.seen_at_venue = True
    hasten_cancel(t, o)
    event = "FILL_ALL" if o.matched >= o.size_micros else "FILL_PART"
    state = settle(
        t,
        o,
        event,
        f.raw_status,
        now,
        _told(f),
        provisional,
        f.size_micros * confirmed,
        cash,
        None,
        f.trade_id,
        fee,
    )
    return ok(i, o.order_id, state)


def sweep_unconfirmed(t: Tables, p_accounts: Any, p_alarm_s: int, p_halt_s: int) -> dict[str, Any]:
    for f in t.fills.values():
        if f.settlement == "provisional" and f.matched_at <= t.now - p_alarm_s * 1_000_000:
            raise NotModelled("a fill that nobody settles for so long")
    return {"old": [], "halted": 0}
