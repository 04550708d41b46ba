"""The one place where an order changes: its state, its hold, counters, balances, queues, the journal, caps.

Everything that an order contributes to a counter or a balance is a function of its row, so each change books the
difference between before and after.
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final

from proof.model import tables
from proof.model.tables import ENDED, UNSENT, Balance, Cancel, Halt, Order, Reservation, Tables
from proof.model.values import NotModelled, ceil_div, in_json, left

MINUTE: Final = 60_000_000
_KEEP: Final = frozenset({"SENDING", "UNKNOWN", "RESERVED", "PREPARED", "HELD_BACK"})
_FACTS: Final = frozenset(
    {"SEE", "FILL_PART", "FILL_ALL", "END_CANCELLED", "END_EXPIRED", "REOPEN"}
)
_COLUMNS: Final = (
    *("state", "state_at", "cause", "venue_order_id", "size_matched_micros", "traded_micros"),
    *("confirmed_micros", "failed_micros", "attempts", "fate_open", "seen_at_venue"),
    *("last_deadline", "cancel_asked_at", "cancel_reason"),
)


def order_of(t: Tables, order_id: int | None) -> Order | None:
    """A copy of the row: what is changed in it changes nothing until it is settled."""
    row = t.orders.get(order_id) if order_id is not None else None
    return None if row is None else copy(row)


def no_order(item: int) -> dict[str, Any]:
    return {"item": item, "status": "refused", "code": "UNKNOWN_ORDER", "detail": "there is no such order"}  # fmt: skip


def ok(item: int, order_id: int, state: str | None) -> dict[str, Any]:
    return {"item": item, "status": "ok", "order_id": order_id, "state": state}


def lane_time(t: Tables, market_id: int) -> int:
    """The market's time never runs backwards."""
    t.touched = True
    lane = t.lanes[market_id]
    lane.clock_at = max(lane.clock_at, t.now)
    return lane.clock_at


def journal(
    t: Tables,
    market_id: int | None,
    event: str,
    order_id: int | None = None,
    attempt: int | None = None,
    before: str | None = None,
    after: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    t.touched = True
    market_seq = condition = None
    if market_id is not None:
        lane = t.lanes[market_id]
        lane.journal_seq += 1
        market_seq, condition = lane.journal_seq, t.markets[market_id].condition_id
    assert t.account is not None
    t.journal.append(
        {
            "account": t.account.name,
            "seq": len(t.journal) + 1,
            "market": condition,
            "market_seq": market_seq,
            "event": event,
            "order_id": order_id,
            "attempt": attempt,
            "from_state": before,
            "to_state": after,
            "detail": detail or {},
        }
    )


# --- money ------------------------------------------------------------------------------------------


def cost_of(price: int, shares: int) -> int:
    return ceil_div(price * shares, 1_000_000)


def highest_fee(price: int, shares: int, rate: int, exponent: int) -> int:
    if rate == 0 or shares == 0:
        return 0
    if exponent != 1:
        raise NotModelled(f"a fee exponent of {exponent}")
    worst = min(price, 500_000)
    return ceil_div(shares * rate * worst * (1_000_000 - worst), 10**18)


def held_by(o: Order, shares: int, awaiting: int) -> int:
    if o.side == "BUY":
        some = shares + awaiting
        return cost_of(o.price_micros, some) + highest_fee(
            o.price_micros, some, o.fee_rate_micros, o.fee_exponent
        )
    return shares + awaiting + (o.traded_micros - o.confirmed_micros - o.failed_micros)


def book(
    t: Tables,
    asset: str,
    available: int,
    locked: int,
    cause: str,
    key: str,
    order_id: int | None = None,
    trade_id: str | None = None,
    contra: str = "venue",
    fee: int = 0,
) -> None:
    """One movement, once, both of its sides."""
    if available == 0 and locked == 0:
        return
    t.touched = True
    balance = t.balances.setdefault(asset, Balance())
    balance.available += available
    balance.locked += locked
    other = -(available + locked + fee)
    for name, amount in ((contra, other), ("fees", fee)):
        if amount:
            t.contra[asset, name] = t.contra.get((asset, name), 0) + amount
    if key in t.entry_keys:
        raise NotModelled(f"a second entry under the key {key}")
    t.entry_keys.add(key)
    assert t.account is not None
    t.entries.append(
        {
            "account": t.account.name,
            "entry_seq": len(t.entries) + 1,
            "asset": asset,
            "cause": cause,
            "available_delta_micros": available,
            "locked_delta_micros": locked,
            "order_id": order_id,
            "trade_id": trade_id,
            "entry_key": key,
            "contra": contra,
            "contra_delta_micros": other,
            "fee_delta_micros": fee,
        }
    )
    if balance.available < 0 and available < 0:
        halt_once(
            t,
            "account",
            str(t.account.account_id),
            f"NEGATIVE_BALANCE: {balance.available} of {asset} after {cause}",
        )


# --- the transition -----------------------------------------------------------------------------------


def next_state(state: str, event: str) -> str | None:
    """The state machine; nothing for what is refused."""
    sending = {"PREPARE": ("RESERVED",), "OPEN": ("PREPARED", "HELD_BACK", "UNKNOWN")}
    sending |= {"REJECT": ("SENDING",), "HOLD_BACK": ("SENDING",), "LOSE": ("SENDING", "UNKNOWN")}
    leads = {"PREPARE": "PREPARED", "OPEN": "SENDING", "REJECT": "REJECTED"}
    leads |= {"HOLD_BACK": "HELD_BACK", "LOSE": "UNKNOWN"}
    if event in sending:
        return leads[event] if state in sending[event] else None
    if event in ("ACCEPT", "DELAY"):
        alive = {"ACCEPT": "LIVE", "DELAY": "DELAYED"}[event]
        return alive if state in ("SENDING", "DELAYED") else "LIVE" if state == "LIVE" else None
    if event == "WITHDRAW":
        return "NOT_PLACED" if state in UNSENT else None
    if state == "RESERVED":
        return None
    match event:
        case "SEE" | "FILL_PART":
            return state if state in ("FILLED", "CANCELLED", "EXPIRED") else "LIVE"
        case "FILL_ALL":
            return "FILLED"
        case "END_CANCELLED":
            return state if state in ("FILLED", "EXPIRED") else "CANCELLED"
        case "END_EXPIRED":
            return state if state in ("FILLED", "CANCELLED") else "EXPIRED"
        case "REOPEN":
            return "FILLED" if state == "FILLED" else "LIVE"
        case "ABSENT":
            return "NOT_PLACED" if state == "UNKNOWN" else None
    raise NotModelled(f"the event {event}")


def settle(
    t: Tables,
    o: Order,
    event: str,
    cause: str,
    now: int,
    detail: dict[str, Any] | None = None,
    provisional: int = 0,
    confirmed: int = 0,
    cash: int = 0,
    attempt: int | None = None,
    trade_id: str | None = None,
    fee: int = 0,
) -> str | None:
    """Write a changed copy of an order back through an event. The new state, or nothing where that is refused."""
    before, after = o.state, next_state(o.state, event)
    detail = detail or {}
    if after is None:
        told = detail | {"event": event}
        journal(t, o.market_id, "ILLEGAL_TRANSITION", o.order_id, attempt, o.state, None, told)
        return None
    if after != before:
        o.state, o.state_at, o.cause = after, now, cause
    if after not in _KEEP:
        o.fate_open = False
    row, new = t.reservations[o.order_id], _hold(t, o, now)
    old = copy(row)
    _write(t, o)
    t.reservations[o.order_id] = new
    _shift(t, o, old, new, provisional, confirmed)
    carry_risk(t, o.market_id, (before in ENDED) - (after in ENDED))
    held = new.held_micros - old.held_micros
    key = f"order:{o.order_id}:{len(t.journal) + 1}"
    about: dict[str, Any] = {"order_id": o.order_id, "trade_id": trade_id}
    if o.side == "BUY":
        book(t, "collateral", cash - held, held, event, f"{key}:c", fee=fee, **about)
        book(t, o.token_id, confirmed, 0, event, f"{key}:t", **about)
    else:
        book(t, o.token_id, -held - confirmed, held, event, f"{key}:t", **about)
        book(t, "collateral", cash, 0, event, f"{key}:c", fee=fee, **about)
    _follow_queues(t, o, before, now)
    if after != before and cause:
        detail = detail | {"cause": cause}
    journal(t, o.market_id, event, o.order_id, attempt, before, after, detail)
    if event in _FACTS:
        check_breach(t, o.market_id, now, overfill=o.matched > o.size_micros)
    if after in ENDED and before not in ENDED:
        from proof.model.reserving import finish_replacement

        finish_replacement(t, o, now)
    return after


def _hold(t: Tables, o: Order, now: int) -> Reservation:
    old = t.reservations[o.order_id]
    new, ended = copy(old), o.state in ENDED
    new.shares_micros = 0 if ended else max(o.size_micros - o.matched, 0)
    new.awaiting_micros = o.matched - o.traded_micros
    new.held_micros = held_by(o, new.shares_micros, new.awaiting_micros)
    if o.state in ("LIVE", "DELAYED"):
        new.phase = "open"
    elif not ended:
        new.phase = "pending"
    else:
        new.phase = "settling" if new.awaiting_micros > 0 or new.held_micros > 0 else "released"
    new.released_at = (old.released_at or now) if new.phase == "released" else None
    new.awaiting_since = (old.awaiting_since or now) if new.awaiting_micros > 0 else None
    return new


def _write(t: Tables, o: Order) -> None:
    row = t.orders[o.order_id]
    for name in _COLUMNS:
        setattr(row, name, getattr(o, name))
    if o.venue_order_id is not None:
        t.by_venue_id[o.venue_order_id] = o.order_id


def _shift(
    t: Tables, o: Order, old: Reservation, new: Reservation, provisional: int, confirmed: int
) -> None:
    lane, i = t.lanes[o.market_id], o.outcome
    pending = new.shares_micros * (new.phase == "pending")
    pending -= old.shares_micros * (old.phase == "pending")
    open_ = new.shares_micros * (new.phase == "open") - old.shares_micros * (old.phase == "open")
    awaiting = new.awaiting_micros - old.awaiting_micros
    if o.side == "BUY":
        lane.pending_buy[i] += pending
        lane.open_buy[i] += open_
        lane.awaiting_buy[i] += awaiting
        lane.held_cost += new.held_micros - old.held_micros
        lane.provisional_buy[i] += provisional
        lane.confirmed[i] += confirmed
    else:
        lane.pending_sell[i] += pending
        lane.open_sell[i] += open_
        lane.awaiting_sell[i] += awaiting
        lane.provisional_sell[i] += provisional
        lane.confirmed[i] -= confirmed


def carry_risk(t: Tables, market_id: int, opened: int = 0) -> None:
    """What changed in a lane goes on to the totals."""
    lane = t.lanes[market_id]
    cost = lane.held_cost + sum(lane.basis) - lane.at_risk
    lane.at_risk += cost
    lane.open_orders += opened
    t.at_risk += cost
    t.open_orders += opened


def _follow_queues(t: Tables, o: Order, before: str, now: int) -> None:
    if o.state == before:
        return
    row, ended = t.outbox[o.order_id], o.state in ENDED
    if o.state == "UNKNOWN":
        row.claimed_by = row.claimed_until = None
        row.status = "blocked"
    elif o.state in ("LIVE", "DELAYED") or ended:
        row.claimed_by = row.claimed_until = None
        row.status = "done"
    if ended:
        asked = t.cancels.get(o.order_id)
        if asked is not None and asked.status == "due":
            asked.status = "done"
    elif before in ENDED:
        queue_cancel(t, o, "reopened: seen alive after it was believed ended", now)


def queue_cancel(t: Tables, o: Order, reason: str, now: int) -> None:
    """A cancel waits for nothing: it is due by the clock that claims go by."""
    t.touched = True
    asked, soon = t.cancels.get(o.order_id), min(now, t.now)
    if asked is None:
        t.cancels[o.order_id] = Cancel(o.order_id, o.market_id, reason[:500], soon)
    else:
        asked.next_at = min(asked.next_at, soon) if asked.status == "due" else soon
        asked.status = "due"
    row = t.orders[o.order_id]
    row.cancel_asked_at = now if row.cancel_asked_at is None else row.cancel_asked_at
    row.cancel_reason = reason[:500] if row.cancel_reason is None else row.cancel_reason


# --- what stops trading -----------------------------------------------------------------------------


def halted_by(t: Tables, market_id: int) -> str | None:
    """The first standing halt that covers the market."""
    assert t.account is not None
    for one in t.halts:
        covers = {"global": "", "account": str(t.account.account_id), "market": str(market_id)}
        if one.cleared_at is None and covers[one.scope] == one.scope_id:
            where = f":{one.scope_id}" if one.scope_id else ""
            return f"{one.scope}{where} ({one.why})"
    return None


def add_halt(t: Tables, scope: str, scope_id: str, why: str, by: str) -> int:
    t.touched = True
    made = Halt(t.next("halt"), scope, scope_id, why[:500], left(by, 200) or "", t.now)
    t.halts.append(made)
    return made.halt_id


def halt_once(t: Tables, scope: str, scope_id: str, why: str) -> None:
    """Unless the ledger has set one of this kind that stands."""
    word = why.partition(":")[0]
    for one in t.halts:
        like = (one.scope, one.scope_id, one.set_as) == (scope, scope_id, "ledger")
        if like and one.cleared_at is None and one.why.partition(":")[0] == word:
            return
    add_halt(t, scope, scope_id, why, "ledger")


def check_breach(t: Tables, market_id: int, now: int, *, overfill: bool = False) -> bool:
    lane, limits = t.lanes[market_id], t.limits
    up, down = lane.effective(0), lane.effective(1)
    why = None
    if limits.max_outcome_micros is not None and max(up, down) > limits.max_outcome_micros:
        why = "CAP_OUTCOME"
    elif limits.max_market_micros is not None and up + down > limits.max_market_micros:
        why = "CAP_MARKET"
    elif min(lane.confirmed) < 0:
        why = "NEGATIVE_POSITION"
    elif overfill:
        why = "OVERFILL"
    if why is None:
        return False
    known = (lane.suspended_why or "").startswith("INVARIANT_BREACH_HALT")
    if known and (lane.suspended_until or 0) > now:
        return True
    until = max(now + 15 * MINUTE, lane.suspended_until or 0)
    lane.suspended_until, lane.suspended_why = until, f"INVARIANT_BREACH_HALT {why}"
    journal(
        t,
        market_id,
        "INVARIANT_BREACH_HALT",
        detail={
            "why": why,
            "up": up,
            "down": down,
            "total": up + down,
            "cap_outcome": limits.max_outcome_micros,
            "cap_market": limits.max_market_micros,
            "until": in_json(until),
        },
    )
    return True


def quarantine_end(t: Tables, o: tables.Order) -> int | None:
    assert t.account is not None
    return None if o.last_deadline is None else o.last_deadline + t.account.quarantine_us
