"""What a person sets up before trading, as far as stages do: one account, markets, movements, limits, halts."""

from __future__ import annotations

import json
from typing import Any, Final

from proof.model.facts import basis_after
from proof.model.mutex import market_of
from proof.model.settling import add_halt, book, carry_risk, check_breach, journal, lane_time
from proof.model.tables import Account, Lane, Limits, Market, Tables
from proof.model.values import NotModelled, left

_LIMITS: Final = frozenset(Limits.__dataclass_fields__)


def open_account(
    t: Tables, p_name: str, p_venue: str, p_maker: Any, p_signer: Any, p_type: int, p_quarantine: int
) -> int:  # fmt: skip
    if t.account is not None or p_maker is not None or p_signer is not None:
        raise NotModelled("more than one account")
    t.account = Account(1, p_name, p_venue, p_quarantine * 1_000, t.now)
    told = {"name": p_name, "venue": p_venue, "maker": None, "signer": None}
    told_ = told | {"signature_type": p_type, "quarantine_ms": p_quarantine}
    journal(t, None, "ACCOUNT_OPENED", detail=told_)
    return 1


def sign_as(t: Tables, p_account: str, p_maker: str, p_signer: str) -> bool:
    a = t.account
    if a is None or a.name != p_account:
        raise NotModelled(f"the account {p_account}")
    if a.maker is None or a.signer is None:
        a.maker, a.signer = a.maker or p_maker, a.signer or p_signer
        journal(t, None, "SIGNS_AS", detail={"maker": a.maker, "signer": a.signer})
    return (a.maker.lower(), a.signer.lower()) == (p_maker.lower(), p_signer.lower())


def import_markets(t: Tables, p_rows: str) -> dict[str, int]:
    rows = sorted(json.loads(p_rows), key=lambda row: row["condition_id"])
    if t.markets or any(row.get("group_key") or not row["tradable"] for row in rows):
        raise NotModelled("markets that change, groups, markets that are not traded")
    for number, x in enumerate(rows, start=1):
        outcomes = sorted(x["outcomes"], key=lambda one: one["index"])
        tokens = tuple(one["token_id"] for one in outcomes)
        t.markets[number] = Market(
            number,
            x["condition_id"],
            x["slug"],
            x["tick_micros"],
            x["min_size_micros"],
            x.get("fee_rate_micros", 0),
            x.get("fee_exponent", 1),
            bool(x.get("fee_taker_only", False)),
            bool(x.get("neg_risk", False)),
            tokens,
            tuple(one["label"] for one in outcomes),
        )
        t.tokens |= {token: (number, i) for i, token in enumerate(tokens)}
    return {"created": len(rows), "updated": 0}


def book_movement(
    t: Tables, p_account: str, p_asset: str, p_amount: int, p_cause: str, p_key: str, p_note: str
) -> bool:
    if p_cause not in ("opening", "deposit") or p_amount <= 0:
        raise NotModelled(f"a movement because of {p_cause}")
    if f"movement:{p_key}" in t.entry_keys:
        return False
    market_id = value = None
    if p_asset != "collateral":
        market_id, outcome = t.tokens[p_asset]
        lane = t.lanes.setdefault(market_id, Lane(market_id, t.now))
        # At the most it can be worth: there is no book.
        value, held = p_amount, lane.bought[outcome] - lane.sold[outcome]
        lane.basis[outcome] = basis_after(lane.basis[outcome], held, p_amount, value)
        lane.confirmed[outcome] += p_amount
        lane.bought[outcome] += p_amount
        t.traded_net -= value
        carry_risk(t, market_id)
    key = f"movement:{p_key}"
    book(t, p_asset, p_amount, 0, p_cause, key, contra="outside")
    told = {"asset": p_asset, "amount": p_amount, "cause": p_cause, "key": p_key}
    told |= {"note": left(p_note, 500), "value": value}
    journal(t, market_id, "MOVEMENT", detail=told)
    if market_id is not None:
        check_breach(t, market_id, lane_time(t, market_id))
    return True


def set_limit(
    t: Tables, p_account: Any, p_market: Any, p_name: str, p_value: str | None, p_why: str
) -> str | None:
    if p_account is not None or p_market is not None or p_name not in _LIMITS:
        raise NotModelled(f"the limit {p_name} of {p_account} and {p_market}")
    before = getattr(t.limits, p_name)
    setattr(t.limits, p_name, None if p_value is None else int(p_value))
    return None if before is None else str(before)


# --- halts --------------------------------------------------------------------------------------------


def _scope_id(t: Tables, scope: str, name: str | None) -> str:
    if scope == "global":
        return ""
    if scope == "account" and t.account is not None and name == t.account.name:
        return str(t.account.account_id)
    market = market_of(t, str(name)) if scope == "market" else None
    if market is None:
        raise NotModelled(f"a halt of {scope} {name}")
    return str(market.market_id)


def set_halt(t: Tables, p_scope: str, p_id: str | None, p_why: str, p_as: str = "") -> int:
    if not p_why or p_as.strip().lower() == "ledger":
        raise NotModelled("a halt that is refused")
    return add_halt(t, p_scope, _scope_id(t, p_scope, p_id), p_why, p_as)


def clear_halt(
    t: Tables, p_scope: str, p_id: str | None, p_version: int, p_why: str = "", p_as: str = ""
) -> int:
    from proof.simulation.seam import refusal as refused

    scope_id = _scope_id(t, p_scope, p_id)
    standing = [
        h for h in t.halts if (h.scope, h.scope_id) == (p_scope, scope_id) and h.cleared_at is None
    ]
    newest = max((h.halt_id for h in standing), default=None)
    if newest is None or newest < p_version:
        words = f"STALE_VERSION: no halt of this scope with version {p_version} stands; nothing was resumed"
        hint = "ledger-worker status lists the standing halts with their versions."
        raise refused("LG005", words, hint)
    if newest > p_version:
        words = f"STALE_VERSION: a newer halt (version {newest}) of this scope stands; nothing was resumed"
        hint = "Read its reason with ledger-worker status, then name that version."
        raise refused("LG005", words, hint)
    t.touched = True
    for h in standing:
        h.cleared_at = t.now
    return len(standing)


def claim_withdrawals(t: Tables, *_arguments: Any) -> list[Any]:
    """None was ever started here."""
    return []
