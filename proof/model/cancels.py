"""The cancel path: ask, claim, record the answer, sweep by standing condition."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from proof.model.breaking import note_cancel
from proof.model.evidence import keep_evidence
from proof.model.mutex import market_of, mutex_held
from proof.model.settling import (
    halted_by,
    journal,
    lane_time,
    no_order,
    ok,
    order_of,
    quarantine_end,
    queue_cancel,
    settle,
)
from proof.model.tables import ENDED, UNSENT, Cancel, Order, Tables
from proof.model.values import NotModelled, items_of, left, numbers, refusal, same, whole

Item = dict[str, Any]
SECOND = 1_000_000
_ANSWERS = ("accepted", "refused", "not_sent", "not_listed", "unknown")


def cancel_one(t: Tables, o: Order, reason: str, now: int) -> str | None:
    if o.state in ENDED:
        return o.state
    if o.state in UNSENT:
        # Never at the venue: it ends here.
        o.cancel_asked_at = now if o.cancel_asked_at is None else o.cancel_asked_at
        o.cancel_reason = reason[:500] if o.cancel_reason is None else o.cancel_reason
        return settle(t, o, "WITHDRAW", "CANCEL_ASKED", now, {"reason": reason[:500]})
    if o.cancel_asked_at is None:
        told = {"reason": reason[:500]}
        journal(t, o.market_id, "CANCEL_ASKED", o.order_id, None, o.state, o.state, told)
    queue_cancel(t, o, reason, now)
    return o.state


def request_cancel(t: Tables, p_items: Any) -> list[Item]:
    out = []
    for i, x in enumerate(items_of(p_items)):
        o = order_of(t, whole(x.get("order_id")))
        if o is None:
            out.append(no_order(i))
            continue
        lane = t.lanes[o.market_id]
        if "mutex_term" in x and (
            whole(x["mutex_term"]) != lane.mutex_term or not mutex_held(t, lane)
        ):
            words = "the evaluation lost its market; nothing was cancelled"
            out.append(refusal(i, "MUTEX_LOST", words))
            continue
        now, why = lane_time(t, o.market_id), x.get("reason")
        out.append(ok(i, o.order_id, cancel_one(t, o, "asked" if why is None else str(why), now)))
    return out


def request_cancel_all(
    t: Tables, p_account: str, p_market: str | None, p_reason: str
) -> list[Item]:
    market = market_of(t, p_market) if p_market is not None else None
    if t.account is None or p_account != t.account.name or (p_market and market is None):
        raise NotModelled("cancels of an account or market that there is not")
    some = [
        {"order_id": o.order_id, "reason": p_reason, "protective": True}
        for o in t.orders.values()
        if o.state not in ENDED
        and o.cancel_asked_at is None
        and (market is None or o.market_id == market.market_id)
    ]
    return request_cancel(t, some)


def sweep_cancels(t: Tables) -> int:
    count = 0
    for row in list(t.orders.values()):
        if row.state in ENDED or row.cancel_asked_at is not None:
            continue
        lane, halt = t.lanes[row.market_id], halted_by(t, row.market_id)
        if halt is None and not (lane.suspended_until or 0) > t.now:
            continue
        now = lane_time(t, row.market_id)
        cancel_one(t, copy(row), "suspended" if halt is None else f"halted: {halt}", now)
        count += 1
    return count


# --- sending them -----------------------------------------------------------------------------------------


def _way(t: Tables, c: Cancel) -> str:
    """By id; after five tries in vain with its market, after ten with everything."""
    if c.futile_tries < 5:
        return "id"
    way = "market" if c.futile_tries < 10 or c.wide_to is None else "all"
    pause = min(max(min(c.wide_tries, c.futile_tries), 30), 600) * SECOND
    sent = c.wide_at is not None and c.wide_at <= t.now
    young = c.futile_tries == c.wide_tries or (c.wide_at or 0) > t.now - 3 * SECOND
    if sent and young:
        return "id"
    recent = [w for w in t.cancels.values() if t.now - pause < (w.wide_at or 0) <= t.now]
    if any(w.wide_to == "all" or (way, w.market_id) == ("market", c.market_id) for w in recent):
        return "id"
    return way


def claim_cancels(
    t: Tables, p_incarnation: Any, p_accounts: Sequence[str], p_limit: int
) -> list[Item]:
    if t.account is None or t.account.name not in p_accounts:
        return []
    due = [
        (c, _way(t, c))
        for c in t.cancels.values()
        if c.status == "due"
        and (c.tries == 0 or c.next_at <= t.now or c.next_at > t.now + 300 * SECOND)
    ]
    if len(due) > min(p_limit, 100):
        raise NotModelled("more cancels than are claimed at once")
    out = []
    for c, way in sorted(due, key=lambda one: one[0].order_id):
        t.touched = True
        c.next_at = t.now + 3 * SECOND
        c.tries += 1
        if way != "id":
            c.wide_to, c.wide_at, c.wide_tries = way, t.now, c.futile_tries
        o = t.orders[c.order_id]
        if o.venue_order_id is not None:
            out.append(
                {
                    "account": t.account.name,
                    "order_id": o.order_id,
                    "venue_order_id": o.venue_order_id,
                    "state": o.state,
                    "tries": c.tries,
                    "reason": c.reason,
                    "condition_id": t.markets[o.market_id].condition_id,
                    "way": way,
                }
            )
    return out


def _answered_anew(t: Tables, o: Order, answer: str) -> bool:
    c = t.cancels.get(o.order_id)
    if c is None or c.status != "due" or c.last_answer != answer:
        return True
    if answer.partition(":")[0] not in ("accepted", "refused") or o.state != "UNKNOWN":
        return False
    return not any(
        v.kind == "delete_answered" and v.started_at > (o.last_deadline or 0)
        for v in t.evidence.get(o.order_id, ())
    )


def record_cancel_answers(t: Tables, p_items: str) -> list[Item]:
    entered, out = t.now, []
    for i, x in enumerate(items_of(p_items)):
        o = order_of(t, whole(x.get("order_id")))
        if o is None or x.get("answer") not in _ANSWERS:
            out.append(refusal(i, "BAD_REQUEST", "unknown order or answer"))
            continue
        _record(t, o, x, entered)
        out.append(ok(i, o.order_id, o.state))
    return out


def _record(t: Tables, o: Order, x: Item, entered: int) -> None:
    now, said, raw = lane_time(t, o.market_id), x["answer"], x.get("raw")
    note_cancel(t, o, said, raw)
    answer = f"{said}: {raw or ''}"[:2000]
    told = _answered_anew(t, o, answer)
    c = t.cancels.get(o.order_id)
    if c is not None and c.status == "due":
        c.last_answer = answer
        refused = x.get("refused") is True
        if said == "not_sent" and x.get("wide") is True and not refused:
            c.wide_at = None
        c.futile_tries += said == "unknown" or refused
        wait = 1_000_000
        if said == "not_sent":
            stated = whole(x.get("retry_after_ms")) or 0
            growing = min(50 * 2 ** min(c.tries, 6), 2_000) if stated == 0 else 0
            wait = min(max(stated, growing), 300_000) * 1_000
        c.next_at = t.now + wait
    if said == "accepted":
        t.orders[o.order_id].seen_at_venue = True
    kept: dict[str, Any] = {}
    if told and said in ("accepted", "refused"):
        began = entered - max(whole(x.get("took_ms")) or 0, 0) * 1_000
        who, owner = same(x.get("incarnation")), x.get("owner")
        detail = left(raw, 2000)
        kept = keep_evidence(t, o, "delete_answered", began, now, who, owner, detail)
    if told:
        kept = kept | {"answer": said, "raw": left(raw, 500)}
        journal(t, o.market_id, "CANCEL_ANSWERED", o.order_id, None, o.state, o.state, kept)


def cancels_unseen(t: Tables, p_order_ids: Sequence[int]) -> int:
    count = 0
    for one in numbers(p_order_ids):
        c = t.cancels.get(one)
        if c is None or c.status != "due":
            continue
        o = t.orders[one]
        may_appear = o.state == "SENDING"
        end = quarantine_end(t, o)
        may_appear |= o.state == "UNKNOWN" and end is not None and t.now <= end
        may_appear |= o.state == "DELAYED" and t.now <= o.state_at + 60 * SECOND
        answered = (c.last_answer or "").partition(":")[0] in ("accepted", "refused", "not_listed")
        c.futile_tries = 0
        if answered and not may_appear:
            if c.absent_reads >= 4:
                c.next_at = max(c.next_at, t.now + 30 * SECOND)
            c.absent_reads += 1
        count += 1
    return count


def cancels_futile(t: Tables, p_order_ids: Sequence[int]) -> int:
    count = 0
    for one in numbers(p_order_ids):
        c = t.cancels.get(one)
        if c is not None and c.status == "due" and t.orders[one].state == "LIVE":
            c.futile_tries += 1
            count += 1
    return count


def hasten_cancel(t: Tables, o: Order) -> None:
    """The venue has shown the order: its cancel waits for nothing any more."""
    c = t.cancels.get(o.order_id)
    if o.cancel_asked_at is None or c is None or c.status != "due" or c.absent_reads == 0:
        return
    if c.absent_reads > 4:
        c.next_at = min(c.next_at, t.now)
    c.absent_reads = 0
