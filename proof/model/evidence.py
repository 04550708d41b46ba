"""What may be concluded about an order whose fate is unknown, and from what."""

from __future__ import annotations

import json
from typing import Any

from proof.model.settling import journal, lane_time, no_order, ok, order_of, quarantine_end, settle
from proof.model.tables import Evidence, Order, Tables
from proof.model.values import digest, epoch, in_json, in_text, items_of, left, refusal, same, whole

Item = dict[str, Any]
_KINDS = ("order_absent", "trades_absent", "late_answer", "sighting")


def keep_evidence(
    t: Tables,
    o: Order,
    kind: str,
    started_at: int,
    at: int,
    incarnation: str | None,
    owner: str | None,
    detail: str | None,
) -> dict[str, Any]:
    """Stores a piece and gives its digest for the journal."""
    made = Evidence(
        t.next("evidence"), kind, started_at, at, incarnation, owner or "", detail or ""
    )
    t.evidence.setdefault(o.order_id, []).append(made)
    return {"evidence": digest(_text(made))}


def _text(v: Evidence) -> str:
    told = [json.dumps(one, ensure_ascii=False) for one in (v.incarnation, v.owner, v.detail)]
    some = [str(v.evidence_id), json.dumps(v.kind), epoch(v.started_at), epoch(v.at), *told]
    return f"[{', '.join(some)}]"


def sighted(t: Tables, o: Order, now: int) -> None:
    """The venue knows the id: from now on the order is never absent."""
    row = t.orders[o.order_id]
    if not row.seen_at_venue:
        row.seen_at_venue = True
        journal(t, o.market_id, "SIGHTED", o.order_id, None, o.state, o.state)


def _shown_before(t: Tables, o: Order, kind: str, owner: str, started: int) -> bool:
    if kind not in ("order_absent", "trades_absent"):
        return False
    end = quarantine_end(t, o)

    def behind(at: int) -> bool | None:
        return None if end is None else at > end

    return any(
        v.kind == kind
        and v.owner == owner
        and v.started_at <= started
        and behind(v.started_at) == behind(started)
        for v in t.evidence.get(o.order_id, ())
    )


def record_evidence(t: Tables, p_items: str) -> list[Item]:
    out = []
    for i, x in enumerate(items_of(p_items)):
        o = order_of(t, whole(x.get("order_id")))
        if o is None or x.get("kind") not in _KINDS:
            out.append(refusal(i, "BAD_REQUEST", "unknown order or kind of evidence"))
            continue
        t.touched = True
        kind, owner = x["kind"], x.get("owner") or ""
        started = t.now - max(whole(x.get("took_ms")) or 0, 0) * 1_000
        kept: dict[str, Any] = {}
        if not _shown_before(t, o, kind, owner, started):
            who = same(x.get("incarnation"))
            detail = left(x.get("detail"), 2000)
            kept = keep_evidence(t, o, kind, started, t.now, who, x.get("owner"), detail)
        if kind in ("late_answer", "sighting"):
            lane_time(t, o.market_id)
            told = kept | {"kind": kind}
            journal(t, o.market_id, "EVIDENCE", o.order_id, None, o.state, o.state, told)
        out.append(ok(i, o.order_id, o.state))
    return out


def prove_absent(t: Tables, p_items: str) -> list[Item]:
    out = []
    for i, x in enumerate(items_of(p_items)):
        o = order_of(t, whole(x.get("order_id")))
        if o is None:
            out.append(no_order(i))
            continue
        now = lane_time(t, o.market_id)
        missing = _missing_proof(t, o, now)
        if missing is not None:
            out.append(refusal(i, "NOT_PROVEN", missing))
        else:
            state = settle(t, o, "ABSENT", "PROVEN_ABSENT", now, _proof(t, o))
            out.append(ok(i, o.order_id, state))
    return out


def _missing_proof(t: Tables, o: Order, now: int) -> str | None:
    pieces, attempts = t.evidence.get(o.order_id, []), t.attempts.get(o.order_id, [])
    if o.state != "UNKNOWN":
        return f"the order is {o.state}"
    if o.seen_at_venue or any(v.kind in ("sighting", "duplicated") for v in pieces):
        return "the venue has shown that it knows the id"
    if any(one.outcome == "open" for one in attempts):
        return "an attempt is open"
    end, deadline = quarantine_end(t, o), o.last_deadline
    assert end is not None
    assert deadline is not None
    if now <= end:
        return f"the quarantine lasts until {in_text(end)}"
    if not any(v.kind == "delete_answered" and v.started_at > deadline for v in pieces):
        return "no DELETE was answered since the last attempt could have arrived"
    for one in attempts:
        for kind in ("order_absent", "trades_absent") if one.outcome in ("unknown", "lapsed") else ():  # fmt: skip
            if not any(
                (v.kind, v.owner) == (kind, one.owner) and v.started_at > end for v in pieces
            ):
                return (
                    "no complete look-up of order and trades, with the attempt's own key, "
                    "was begun after the quarantine"
                )
    return None


def _proof(t: Tables, o: Order) -> dict[str, Any]:
    assert t.account is not None
    pieces = t.evidence.get(o.order_id, [])
    return {
        "deadline": in_json(o.last_deadline),
        "quarantine_ms": t.account.quarantine_us // 1_000,
        "pieces": len(pieces),
        "through": max((v.evidence_id for v in pieces), default=None),
        "digest": digest("\n".join(_text(v) for v in pieces)) if pieces else None,
    }
