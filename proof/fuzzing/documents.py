"""Valid documents of the venue to start from: made in the documented shapes, and recorded ones where there are any.

``LEDGER_TEST_DATA_DIR`` may lead to a folder of recorded answers and frames; without it the made ones are all there is.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Any, Final

from proof.fuzzing.answers import IDS, OURS, STRANGER
from proof.fuzzing.model import Random

TOKEN: Final = "7" * 70
OTHER_TOKEN: Final = "8" * 70
CONDITION: Final = "0x" + "ab" * 32
WALLET: Final = "0x" + "5a" * 20
OWNER: Final = "11111111-2222-4333-8444-555555555555"
SIZE_MICROS: Final = 10_000_000
"""Of each of our orders, as it was signed."""


def size_of(venue_order_id: str) -> int | None:
    return SIZE_MICROS if venue_order_id in IDS else None


def order(rng: Random) -> dict[str, Any]:
    """A row of the list of orders, or the answer to one look-up."""
    return {
        "id": rng.choice((OURS, OURS, *IDS, STRANGER)),
        "status": rng.choice(
            (
                "LIVE",
                "ORDER_STATUS_LIVE",
                "MATCHED",
                "CANCELED",
                "CANCELED_EXPIRED_ORDER",
                "INVALID",
                "UNMATCHED",
            )
        ),
        "owner": OWNER,
        "maker_address": WALLET,
        "market": CONDITION,
        "asset_id": TOKEN,
        "side": rng.choice(("BUY", "SELL")),
        "original_size": rng.choice(("10", "10.5", "10000000", "12.345678")),
        "size_matched": rng.choice(("0", "2.5", "10", "5000000", "")),
        "price": rng.choice(("0.45", "0.5", "0.001", "0.333333333")),
        "outcome": "Up",
        "expiration": "0",
        "order_type": "GTC",
        "associate_trades": rng.choice(([], ["t-1"])),
        "created_at": rng.choice((1_794_909_600, "1794909600", "")),
    }


def trade(rng: Random) -> dict[str, Any]:
    """A row of the list of trades."""
    return {
        "id": rng.choice(("t-1", "t-2", "t-3")),
        "taker_order_id": rng.choice((*IDS, STRANGER)),
        "market": CONDITION,
        "asset_id": TOKEN,
        "side": "BUY",
        "size": rng.choice(("10", "2.5", "0.01", "2500000")),
        "fee_rate_bps": "0",
        "price": rng.choice(("0.45", "0.333333333")),
        "status": rng.choice(
            ("MATCHED", "TRADE_STATUS_MINED", "CONFIRMED", "RETRYING", "FAILED", "NEW")
        ),
        "match_time": "1794909600",
        "last_update": "1794909601",
        "outcome": "Up",
        "owner": rng.choice((OWNER, "stranger", "")),
        "maker_address": WALLET,
        "transaction_hash": "0x" + "12" * 32,
        "trader_side": rng.choice(("TAKER", "MAKER", "")),
        "maker_orders": [maker(rng) for _ in range(rng.randrange(4))],
    }


def maker(rng: Random) -> dict[str, Any]:
    return {
        "order_id": rng.choice((*IDS, STRANGER)),
        "owner": rng.choice((OWNER, "stranger")),
        "maker_address": rng.choice((WALLET, "0x" + "66" * 20)),
        "matched_amount": rng.choice(("2.5", "10", "1.25")),
        "price": rng.choice(("0.45", "0.55")),
        "fee_rate_bps": "0",
        "asset_id": rng.choice((TOKEN, OTHER_TOKEN)),
        "outcome": "Down",
        "side": "SELL",
    }


def page(rows: list[Any], cursor: Any = "LTE=") -> dict[str, Any]:
    return {"limit": 100, "count": len(rows), "next_cursor": cursor, "data": rows}


def position(rng: Random) -> dict[str, Any]:
    return {
        "token_id": rng.choice((TOKEN, OTHER_TOKEN)),
        "condition_id": CONDITION,
        "proxy_wallet": WALLET,
        "current_size": rng.choice(("10", 0, "12.5")),
        "avg_price": "0.45",
        "entry_cost_usdc": "4.5",
        "entry_fees_usdc": "0.01",
        "status": "OPEN",
        "redeemable": False,
        "mergeable": False,
        "negative_risk": False,
    }


def public_trade(rng: Random) -> dict[str, Any]:
    return {
        "proxy_wallet": WALLET, "token_id": TOKEN, "condition_id": CONDITION, "side": rng.choice(("BUY", "SELL")),
        "size": "10", "price": "0.45", "timestamp": 1_794_909_600, "transaction_hash": "0x" + "12" * 32,
    }  # fmt: skip


def activity(rng: Random) -> dict[str, Any]:
    return public_trade(rng) | {
        "type": rng.choice(("TRADE", "SPLIT", "REDEEM")),
        "usdc_size": "4.5",
    }


def old_position(_rng: Random) -> dict[str, Any]:
    return {
        "proxyWallet": WALLET,
        "asset": TOKEN,
        "conditionId": CONDITION,
        "size": "1.5",
        "redeemable": True,
    }


def balance(rng: Random) -> dict[str, Any]:
    return {
        "balance": rng.choice(("1000000", "0", "12.5", "9" * 20, 5)),
        "allowances": {WALLET: rng.choice(("0", str(2**256 - 1))), "0x" + "77" * 20: "5"},
    }


# --- recorded -------------------------------------------------------------------------------------


@cache
def recorded(*folders: str) -> tuple[str, ...]:
    """Documents of recorded files, as text, each small enough to be bent many times a second."""
    named = os.environ.get("LEDGER_TEST_DATA_DIR")
    if not named:
        return ()
    found: list[str] = []
    for folder in folders:
        for path in sorted((Path(named) / folder).rglob("*.json*")):
            if path.suffix in (".json", ".jsonl"):
                found += _documents(path)
    return tuple(found[:500])


def _documents(path: Path) -> list[str]:
    text = path.read_text("utf-8", "replace")
    parts = text.splitlines()[:60] if path.suffix == ".jsonl" else [text]
    found = []
    for part in parts:
        try:
            value = json.loads(part)
        except ValueError:
            continue
        values = value[:20] if isinstance(value, list) else [value]
        found += [json.dumps(one) for one in values]
    return [one for one in found if len(one) < 20_000]


def of_recorded(rng: Random, *folders: str) -> Any:
    """One of them as a tree of one's own, or None."""
    known = recorded(*folders)
    return json.loads(rng.choice(known)) if known else None
