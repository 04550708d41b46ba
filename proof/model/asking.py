"""What is read through functions and statements: orders as they are shown, comparisons, holdings, losses."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from proof.model.mutex import market_of
from proof.model.settling import cost_of
from proof.model.tables import ENDED, Holding, Order, Tables
from proof.model.values import NotModelled, in_json, numbers, whole
from workers.statements import statement

Row = dict[str, Any]
DAY: Final = 86_400_000_000
LAG: Final = 600_000_000


def show(t: Tables, o: Order) -> Row:
    m, r = t.markets[o.market_id], t.reservations[o.order_id]
    assert t.account is not None
    return {
        "order_id": o.order_id,
        "account": t.account.name,
        "market": m.condition_id,
        "slug": m.slug,
        "outcome": o.outcome,
        "outcome_label": m.labels[o.outcome],
        "token_id": o.token_id,
        "side": o.side,
        "price_micros": o.price_micros,
        "size_micros": o.size_micros,
        "order_type": o.order_type,
        "post_only": o.post_only,
        "class": o.order_class,
        "key": o.key,
        "state": o.state,
        "cause": o.cause,
        "ended": o.state in ENDED,
        "settled": r.phase == "released",
        "venue_order_id": o.venue_order_id,
        "matched_micros": o.matched,
        "traded_micros": o.traded_micros,
        "confirmed_micros": o.confirmed_micros,
        "failed_micros": o.failed_micros,
        "held_micros": r.held_micros,
        "attempts": o.attempts,
        "cancel_asked": o.cancel_asked_at is not None,
        "seen_at_venue": o.seen_at_venue,
        "valid_until": in_json(o.valid_until),
        "created_at": in_json(o.created_at),
        "state_at": in_json(o.state_at),
    }


def get_orders(t: Tables, p_order_ids: Sequence[int]) -> list[Row]:
    return [show(t, t.orders[one]) for one in sorted(numbers(p_order_ids)) if one in t.orders]


def find_by_key(t: Tables, p_account: str, p_key: str) -> Row | None:
    bound = t.keys.get(p_key)
    if bound is None:
        return None
    if bound.kind == "order":
        return show(t, t.orders[bound.subject_id]) | {"kind": "order"}
    q = t.replacements[bound.subject_id]
    return {
        "kind": "replacement",
        "replacement_id": q.replacement_id,
        "state": q.state,
        "old_order_id": q.old_order_id,
        "new_order_id": q.new_order_id,
        "code": q.code,
    }


def standing_orders(
    t: Tables, p_account: str, p_market: str | None = None, p_after: int = 0
) -> list[Row]:
    market = market_of(t, p_market) if p_market is not None else None
    if p_market is not None and market is None:
        return []
    return [
        show(t, o)
        for o in t.orders.values()
        if o.state not in ENDED
        and o.order_id > p_after
        and (market is None or o.market_id == market.market_id)
    ]


# --- holdings -----------------------------------------------------------------------------------------


def record_holdings(
    t: Tables, p_account: str, p_collateral: int | None, p_tokens: str
) -> list[Row]:
    theirs: dict[str, int | None] = {"collateral": p_collateral}
    theirs |= {name: whole(one) for name, one in json.loads(p_tokens).items()}
    t.touched = True
    for asset, amount in theirs.items():
        if amount is None:
            continue
        balance = t.balances.get(asset)
        ours = balance.available + balance.locked if balance is not None else 0
        agreed = ours - amount <= 1_000_000 if asset == "collateral" else amount == ours
        before = t.holdings.get(asset)
        since = t.now if agreed else before.agreed_at if before is not None else None
        t.holdings[asset] = Holding(amount, ours, _unsettled(t, asset), t.now, since)
    return [
        {"asset": asset, "ours": h.ours, "theirs": h.theirs, "unsettled": h.unsettled}
        for asset, h in sorted(t.holdings.items())
        if h.seen_at == t.now
    ]


def _unsettled(t: Tables, asset: str) -> int:
    """What is on its way, which the venue may or may not count yet."""
    total, held = 0, [r for r in t.reservations.values() if r.phase != "released"]
    for f in t.fills.values():
        late = max(f.matched_at, f.settled_at or 0) > t.now - LAG
        if f.settlement == "provisional" or late:
            if asset == "collateral":
                total += f.cash_micros + f.fee_micros
            elif t.orders[f.order_id].token_id == asset:
                total += f.size_micros
    for r in held:
        o = t.orders[r.order_id]
        if asset == "collateral":
            buys = o.side == "BUY"
            total += r.held_micros if buys else cost_of(1_000_000, r.held_micros)
        elif o.token_id == asset:
            total += r.awaiting_micros + r.shares_micros
    return total


def _moving(t: Tables) -> set[str]:
    some = {
        t.orders[f.order_id].token_id for f in t.fills.values() if f.settlement == "provisional"
    }
    return some | {
        t.orders[r.order_id].token_id for r in t.reservations.values() if r.phase != "released"
    }


def _held_tokens(t: Tables) -> set[str]:
    held = {
        asset
        for asset, b in t.balances.items()
        if asset != "collateral" and (b.available or b.locked)
    }
    return held | {
        t.orders[f.order_id].token_id for f in t.fills.values() if f.settlement == "provisional"
    }


def _holdings_due(t: Tables, _account: str, listed: Sequence[str], _rest_s: float) -> list[Row]:
    differ = {a for a, h in t.holdings.items() if h.theirs != h.ours and a != "collateral"}
    moving, judged = _moving(t), []
    for asset in {*listed, *_held_tokens(t), *differ}:
        h, b = t.holdings.get(asset), t.balances.get(asset)
        ours = b.available + b.locked if b is not None else 0
        settled = h is not None and h.theirs == h.ours == ours
        settled = settled and h is not None and h.unsettled == 0 and asset not in moving
        judged.append((settled, h is not None, h.seen_at if h is not None else 0, asset))
    # No market is ever over here, so none is at rest.
    return [{"asset": asset} for *_, asset in sorted(judged)]


def _owned(t: Tables, _account: str, assets: Sequence[str]) -> list[Row]:
    rows, moving = [], _moving(t)
    anything = bool(moving)
    for asset in assets:
        place, b = t.tokens.get(asset), t.balances.get(asset)
        m = t.markets[place[0]] if place is not None else None
        opened = any(
            e["asset"] == asset and e["order_id"] is None and e["cause"] == "opening"
            for e in t.entries
        )
        rows.append(
            {
                "asset": asset,
                "market": m.condition_id if m is not None else None,
                "slug": m.slug if m is not None else None,
                "outcome": m.labels[place[1]] if m is not None and place is not None else None,
                "known": asset == "collateral" or place is not None,
                "ours_micros": b.available + b.locked if b is not None else 0,
                "on_its_way": anything if asset == "collateral" else asset in moving,
                "opened": opened,
            }
        )
    nowhere = "\U0010ffff"
    rows.sort(
        key=lambda row: (
            row["asset"] != "collateral",
            row["slug"] or nowhere,
            row["outcome"] or nowhere,
            row["asset"],
        )
    )
    return rows


# --- losses ---------------------------------------------------------------------------------------------


def sweep_losses(t: Tables) -> Row:
    """Marks of equity. No limit on losses is set here, so nothing is halted."""
    lanes = [lane for lane in t.lanes.values() if lane.bought != lane.sold]
    basis = sum(lane.basis[i] for lane in lanes for i in (0, 1) if lane.bought[i] != lane.sold[i])
    fees = t.contra.get(("collateral", "fees"), 0)
    mark = (t.traded_net + basis, t.traded_net + basis, fees, len(lanes))
    midnight, marks = t.now // DAY * DAY, 0
    assert t.account is not None
    for at in [at for at in t.marks if at > t.now and at % DAY == 0]:
        del t.marks[at]
    if midnight not in t.marks:
        today = t.account.created_at > midnight
        t.marks[midnight] = (0, 0, 0, 0) if today else mark
        marks = 1
    last = t.marks[max(at for at in t.marks if at <= t.now)]
    minute = t.now // 60_000_000 * 60_000_000
    if last != mark and minute not in t.marks:
        t.marks[minute] = mark
        marks += 1
    return {"busy": False, "marks": marks, "halted": []}


# --- statements -------------------------------------------------------------------------------------------


def _states(t: Tables) -> list[Row]:
    return [
        {"state": o.state, "salt": str(o.salt), "venue_order_id": o.venue_order_id}
        for o in t.orders.values()
    ]


def _signed_sizes(t: Tables, _account: str, ids: Sequence[str]) -> list[Row]:
    some = [t.orders[t.by_venue_id[one]] for one in dict.fromkeys(ids) if one in t.by_venue_id]
    return [{"venue_order_id": o.venue_order_id, "size_micros": o.size_micros} for o in some]


def _fee_terms(t: Tables, tokens: Sequence[str]) -> list[Row]:
    rows = []
    for one in dict.fromkeys(tokens):
        if one in t.tokens:
            m = t.markets[t.tokens[one][0]]
            terms = {"fee_rate_micros": m.fee_rate_micros, "fee_exponent": m.fee_exponent}
            rows.append({"token_id": one} | terms)
    return rows


def _delayed(t: Tables, _accounts: Sequence[str]) -> list[Row]:
    assert t.account is not None
    return [
        {
            "account": t.account.name,
            "order_id": o.order_id,
            "venue_order_id": o.venue_order_id,
            "created_ms": o.created_at // 1_000,
        }
        for o in t.orders.values()
        if o.state == "DELAYED"
    ]


def _in_flight(t: Tables, _account: str) -> list[Row]:
    some = (o for o in t.orders.values() if o.state in ("SENDING", "UNKNOWN"))
    return [{"venue_order_id": o.venue_order_id} for o in some]


def _owners(t: Tables, _account: str) -> list[Row]:
    some = {one.owner for of in t.attempts.values() for one in of if one.owner}
    return [{"owner": one} for one in sorted(some)]


def _other_owners(t: Tables, _account: str, order_id: int, present: str) -> list[Row]:
    some = {
        one.owner
        for one in t.attempts.get(order_id, ())
        if one.outcome in ("unknown", "lapsed") and one.owner != present
    }
    return [{"owner": one} for one in sorted(some)]


def _known(t: Tables, account: str) -> list[Row]:
    named = t.account is not None and (t.account.name, t.account.venue) == (account, "polymarket")
    return [{"?column?": 1}] if named else []


def _served(t: Tables, venue: str, names: Sequence[str], everybody: bool) -> list[Row]:
    a = t.account
    fits = a is not None and a.venue == venue and (a.name in names or everybody)
    return [{"name": a.name}] if a is not None and fits else []


def _ours(t: Tables, _account: str, ids: Sequence[str]) -> list[Row]:
    wanted = set(ids)
    return [
        {
            "order_id": o.order_id,
            "venue_order_id": o.venue_order_id,
            "state": o.state,
            "matched": o.matched,
        }
        for o in t.orders.values()
        if o.venue_order_id is not None
        and (o.state in ("SENDING", "UNKNOWN", "DELAYED", "LIVE") or o.venue_order_id in wanted)
    ]


def _our_fills(t: Tables, _account: str, trades: Sequence[str]) -> list[Row]:
    wanted = set(trades)
    return [
        {
            "trade_id": f.trade_id,
            "venue_order_id": t.orders[f.order_id].venue_order_id,
            "settlement": f.settlement,
            "fee_micros": f.fee_micros,
            "fee_is_final": f.fee_rank == 4,
            "contradicted": f.contradicted_at is not None,
        }
        for f in t.fills.values()
        if f.trade_id in wanted
    ]


def _window(t: Tables, _account: str) -> list[Row]:
    open_ = [f.matched_at // 1_000 for f in t.fills.values() if f.settlement == "provisional"]
    assert t.account is not None
    return [{"opened": t.account.created_at // 1_000, "oldest": min(open_, default=None)}]


def _drift_after(t: Tables, _account: str, subjects: Sequence[str]) -> list[Row]:
    wanted = set(subjects)
    rows: list[Row] = [
        {"subject": o.venue_order_id, "state": o.state, "matched": o.matched, "fee": 0}
        for o in t.orders.values()
        if o.venue_order_id in wanted
    ]
    for f in t.fills.values():
        subject = f"{f.trade_id}/{t.orders[f.order_id].venue_order_id}"
        if subject in wanted:
            told = {"state": f.settlement, "matched": f.size_micros, "fee": f.fee_micros}
            rows.append({"subject": subject} | told)
    return rows


def _account_halts(t: Tables, _account: str, word: str, asset: str) -> list[Row]:
    assert t.account is not None
    seen, scope_id = t.holdings.get(asset), str(t.account.account_id)
    agreed = seen.agreed_at if seen is not None else None
    return [
        {
            "halt_id": h.halt_id,
            "why": h.why,
            "stands": h.cleared_at is None,
            "agreed_since": agreed is not None and agreed > h.set_at,
        }
        for h in reversed(t.halts)
        if (h.scope, h.scope_id) == ("account", scope_id) and h.why.partition(":")[0] == word
    ]


def _none(_t: Tables, *_arguments: Any) -> list[Row]:
    return []


_OWNERS: Final = (
    "SELECT DISTINCT t.owner FROM ledger.attempt t "
    "JOIN ledger.account a USING (account_id) WHERE a.name = $1"
)

STATEMENTS: Final[tuple[tuple[str, Callable[..., list[Row]]], ...]] = (
    ("SELECT o.state, o.salt::text AS salt", _states),
    ("SELECT o.venue_order_id, o.size_micros FROM", _signed_sizes),
    ("SELECT c.token_id, m.fee_rate_micros", _fee_terms),
    ("SELECT a.name AS account, o.order_id, o.venue_order_id, floor(", _delayed),
    ("SELECT o.venue_order_id FROM ledger.orders o JOIN ledger.account a", _in_flight),
    (f"{_OWNERS} AND t.owner <> ''", _owners),
    (f"{_OWNERS} AND t.order_id", _other_owners),
    ("SELECT 1 FROM ledger.account WHERE name = $1 AND venue", _known),
    ("SELECT name FROM ledger.account WHERE venue = $1 AND (name =", _served),
    ("SELECT * FROM ledger.horizon()", _none),
    (statement("reconcile_orders"), _ours),
    (statement("reconcile_fills"), _our_fills),
    (statement("reconcile_window"), _window),
    (statement("drift_after"), _drift_after),
    (statement("holdings_due"), _holdings_due),
    (statement("owned"), _owned),
    (statement("account_halts"), _account_halts),
    (statement("foreign_halts"), _none),
    (statement("foreign_to_end"), _none),
    (statement("over_allocated"), _none),
)
"""How a statement begins, or all of it, and what answers it. No order is foreign here, and nothing was rewarded."""


def answer_to(text: str) -> Callable[..., list[Row]]:
    """Who answers a statement. Whatever is not known by its text is refused."""
    for begins, answers in STATEMENTS:
        if text.startswith(begins):
            return answers
    raise NotModelled(f"the statement {text[:120]!r}")
