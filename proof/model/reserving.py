"""Admission: an intent becomes an order with its hold; and replacements, which wait for the old order's end."""

from __future__ import annotations

import hashlib
import json
from copy import copy
from typing import Any

from proof.model.cancels import cancel_one
from proof.model.mutex import lane_of, mutex_held
from proof.model.requests import (
    PASSES,
    STEP,
    Answer,
    Request,
    duplicate,
    judge,
    market_refusal,
    read,
    replay,
)
from proof.model.settling import (
    book,
    carry_risk,
    halted_by,
    held_by,
    journal,
    no_order,
    order_of,
)
from proof.model.tables import ENDED, Key, Lane, Order, Outbox, Replacement, Reservation, Tables
from proof.model.values import NotModelled, digest, epoch, in_text, items_of, jsonb, refusal, whole


def _admit(t: Tables, r: Request, asked: int, now: int) -> Answer:
    m = r.market
    t.touched = True
    like = duplicate(t, r, now) if t.limits.duplicate_window_ms > 0 else None
    order_id = t.next("order")
    assert t.account is not None
    account_id = t.account.account_id
    named = f"{account_id}|{order_id}|{r.key}|{in_text(now)}"
    created = min(now, t.now)
    o = Order(
        order_id=order_id,
        market_id=m.market_id,
        outcome=r.outcome,
        token_id=r.token_id,
        side=r.side,
        price_micros=r.price_micros,
        size_micros=r.size_micros,
        tick_micros=m.tick_micros,
        fee_rate_micros=0 if r.post_only and m.fee_taker_only else m.fee_rate_micros,
        fee_exponent=m.fee_exponent,
        order_type=r.order_type,
        post_only=r.post_only,
        expires_at_s=r.expires_at_s,
        order_class=r.order_class,
        key=r.key,
        set_id=r.set_id,
        replaces_order_id=r.replaces_order_id,
        salt=int(hashlib.sha256(named.encode()).hexdigest()[:13], 16),
        signed_at_ms=now // 1_000,
        created_at=created,
        valid_until=created + r.valid_for_ms * 1_000,
        state_at=now,
    )
    held = held_by(o, o.size_micros, 0)
    asset = "collateral" if o.side == "BUY" else o.token_id
    t.orders[order_id] = o
    t.reservations[order_id] = Reservation(
        order_id, m.market_id, asset, "pending", o.size_micros, 0, held, now
    )
    # Orders and outbox rows are numbered together: replacements take a number of the first only.
    t.outbox[order_id] = Outbox(
        t.next("outbox"), m.market_id, order_id, o.set_id, o.order_class in PASSES, created
    )
    if r.replaces_order_id is None:
        t.keys[r.key] = Key(r.fingerprint, "order", order_id)
    lane = t.lanes[m.market_id]
    lane.clock_at = now
    if o.side == "BUY":
        lane.held_cost += held
        lane.pending_buy[o.outcome] += o.size_micros
    else:
        lane.pending_sell[o.outcome] += o.size_micros
    carry_risk(t, m.market_id, 1)
    if r.replaces_order_id is None:
        lane.last_set_id = r.set_id
    book(t, asset, -held, held, "RESERVE", f"order:{order_id}:reserve", order_id)
    detail: dict[str, Any] = {
        "side": o.side,
        "outcome": o.outcome,
        "price": o.price_micros,
        "size": o.size_micros,
        "asked": asked,
        "key": r.key,
        "terms": digest(_terms(o, r)),
    }
    if o.price_micros != r.asked_price:
        detail["asked_price"] = r.asked_price
    journal(t, m.market_id, "RESERVE", order_id, None, None, "RESERVED", detail)
    answer = {
        "item": r.item,
        "status": "admitted",
        "replay": False,
        "order_id": order_id,
        "price_micros": o.price_micros,
        "size_micros": o.size_micros,
        "clamped": o.size_micros < asked,
    }
    if like is not None:
        journal(t, m.market_id, "DUPLICATE_SUSPECTED", order_id, detail={"same_as": like})
        answer["duplicate_of"] = like
    return answer


def _terms(o: Order, r: Request) -> str:
    """What is fixed with an intent and told nowhere else, as it is digested."""
    some = [o.token_id, o.tick_micros, o.fee_rate_micros, o.fee_exponent, o.order_type, o.post_only]
    some += [o.expires_at_s, o.order_class, r.origin, r.strategy, r.context, o.set_id]
    some += [o.replaces_order_id, o.salt]
    return f"{jsonb(some)[:-1]}, {epoch(o.created_at)}]"


# --- the functions ------------------------------------------------------------------------------------


def reserve_pending(t: Tables, p_requests: str) -> list[Answer]:
    given = items_of(p_requests)
    requests: list[Request] = []
    answers: list[Answer | None] = []
    sets: dict[int, int] = {}
    for i, one in enumerate(given):
        r = read(t, one, i)
        if r.replaces_order_id is not None:
            raise NotModelled("a replacement by way of reserve_pending")
        requests.append(r)
        answers.append(replay(t, r) or market_refusal(r))
        if r.set_id is not None:
            r.set_id = sets.setdefault(r.set_id, 0) or t.next("set")
            sets[whole(one["set_id"]) or 0] = r.set_id
    for r, answer in zip(requests, answers, strict=True):
        if answer is None:
            lane_of(t, r.market)
    if None not in answers:
        return [one for one in answers if one is not None]
    told: list[Answer] = []
    for i, r in enumerate(requests):
        answer = answers[i]
        if answer is None or any(one.key == r.key for one in requests[:i]):
            answer = replay(t, r) or answer
        if answer is None:
            lane = t.lanes[r.market.market_id]
            now, asked = max(t.now, lane.clock_at), r.size_micros
            answer = judge(t, r, lane, now) or _admit(t, r, asked, now)
        told.append(answer)
    return told


def replace_order(t: Tables, p_order_id: int, p_request: str) -> Answer:
    o = order_of(t, p_order_id)
    if o is None:
        return no_order(0)
    asked = json.loads(p_request)
    r = read(t, asked | {"replaces_order_id": p_order_id}, 0)
    r.set_id = None
    again = replay(t, r)
    if again is not None:
        return again
    lane = t.lanes[o.market_id]
    now = max(t.now, lane.clock_at)
    wrong = _replace_refusal(t, o, r, lane, now)
    if wrong is not None:
        return wrong
    lane.last_set_id = None
    number = t.next("order")
    request = {name: one for name, one in asked.items() if name not in ("mutex_term", "set_id")}
    request |= {"outcome": str(o.outcome), "market": r.market.condition_id}
    t.replacements[number] = Replacement(number, o.order_id, request, o.matched)
    t.keys[r.key] = Key(r.fingerprint, "replacement", number)
    journal(
        t,
        o.market_id,
        "REPLACE_ASKED",
        o.order_id,
        None,
        o.state,
        o.state,
        {
            "replacement": number,
            "key": r.key,
            "filled": o.matched,
            "request": digest(jsonb(request)),
        },
    )
    cancel_one(t, copy(t.orders[p_order_id]), "replaced", now)
    return {"item": 0, "status": "asked", "replay": False, "replacement_id": number}


def _replace_refusal(t: Tables, o: Order, r: Request, lane: Lane, now: int) -> Answer | None:
    if (r.market.market_id, r.outcome, r.side) != (o.market_id, o.outcome, o.side):
        words = "a replacement keeps account, market, outcome and side; nothing was changed"
        return refusal(0, "BAD_REQUEST", words)
    if o.state in ENDED:
        words = f"order {o.order_id} is {o.state}; place a new one"
        return refusal(0, "ALREADY_ENDED", words)
    waiting = (q for q in t.replacements.values() if q.state == "waiting")
    if any(q.old_order_id == o.order_id for q in waiting):
        words = "a replacement of this order is already waiting; nothing was changed"
        return refusal(0, "BUSY", words)
    if r.mutex_term is not None:
        if r.mutex_term != lane.mutex_term or not mutex_held(t, lane):
            words = "the evaluation lost its market; nothing was changed"
            return refusal(0, "MUTEX_LOST", words)
    elif mutex_held(t, lane):
        return refusal(0, "LOCKED", "another evaluation of this market is under way")
    halt = halted_by(t, o.market_id)
    if halt is not None:
        return refusal(0, "HALTED", f"halted: {halt}; the order was left alone")
    if lane.suspended_until is not None and lane.suspended_until > now:
        return refusal(0, "SUSPENDED", f"{lane.suspended_why}; the order was left alone")
    return market_refusal(r)


def finish_replacement(t: Tables, o: Order, now: int) -> None:
    """The old order has ended: the new one is reserved in the same commit, less what the old one filled."""
    q = next(
        (
            q
            for q in t.replacements.values()
            if q.old_order_id == o.order_id and q.state == "waiting"
        ),
        None,
    )
    if q is None:
        return
    r = read(t, q.request | {"replaces_order_id": o.order_id}, 0)
    asked = r.size_micros
    if o.state == "FILLED":
        answer = refusal(0, "ALREADY_ENDED", "the old order was filled")
    else:
        r.size_micros = (r.size_micros - (o.matched - q.filled_at_ask)) // STEP * STEP
        if r.size_micros <= 0:
            words = "the old order filled what the new one asked for"
            answer = refusal(0, "ALREADY_ENDED", words)
        else:
            wrong = market_refusal(r) or judge(t, r, t.lanes[o.market_id], now)
            answer = wrong or _admit(t, r, asked, now)
    q.state = "done" if answer["status"] == "admitted" else "refused"
    q.new_order_id, q.code = answer.get("order_id"), answer.get("code") or ""
    told = answer | {"replacement": q.replacement_id}
    journal(t, o.market_id, "REPLACE_ENDED", o.order_id, detail=told)
