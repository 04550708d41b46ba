"""What stands before every schedule begins: an account, its markets on both sides, its limits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from app.venue.simulator.markets import made_up
from proof.auditor.interface import Asked, LimitSet, MarketTerms, Moved
from proof.simulation.actors import API_KEY, QUARANTINE_MS, SIGNER
from proof.simulation.seam import START_US, Store
from proof.simulation.venue import SimVenue
from proof.simulation.wire import as_json

SHARE: Final = 1_000_000
COLLATERAL: Final = 200 * SHARE
TOKENS: Final = 30 * SHARE
OUTCOME_CAP: Final = 60 * SHARE
MARKET_CAP: Final = 90 * SHARE
FEE: Final = {0: 0, 1: 20_000}
"""Fee rate by the market's number."""


@dataclass(frozen=True, slots=True)
class Place:
    """A market as both sides know it."""

    condition_id: str
    tokens: tuple[str, str]
    slug: str
    fee_micros: int


@lru_cache(maxsize=1)
def places() -> tuple[Place, ...]:
    """The two markets of every schedule."""
    made = [made_up(1, number, fee_rate_ppm=fee) for number, fee in FEE.items()]
    return tuple(
        Place(one.condition_id, (one.tokens[0], one.tokens[1]), one.slug, FEE[number])
        for number, one in enumerate(made)
    )


def _market_row(place: Place) -> dict[str, Any]:
    return {
        "condition_id": place.condition_id,
        "slug": place.slug,
        "tick_micros": 10_000,
        "min_size_micros": 5 * SHARE,
        "fee_rate_micros": place.fee_micros,
        "fee_exponent": 1,
        "fee_taker_only": True,
        "tradable": True,
        "untradable_reasons": [],
        "outcomes": [
            {"index": index, "label": label, "token_id": token}
            for index, (label, token) in enumerate(zip(("Yes", "No"), place.tokens, strict=True))
        ],
    }


LIMITS: Final = {
    "max_outcome_micros": OUTCOME_CAP,
    "max_market_micros": MARKET_CAP,
    "burst_per_minute": None,
    "burst_gap_ms": 0,
}


def furnish(store: Store) -> None:
    """Once per store: what every schedule finds in the ledger."""
    store.begin(START_US - 60_000_000)
    store.call("open_account", ("main", "polymarket", None, None, 0, QUARANTINE_MS))
    store.call("import_markets", (as_json([_market_row(one) for one in places()]),))
    opening = {"collateral": COLLATERAL, places()[0].tokens[0]: TOKENS}
    for asset, amount in opening.items():
        store.call(
            "book_movement", ("main", asset, amount, "opening", f"opening {asset[:9]}", "stage")
        )
    for name, value in LIMITS.items():
        store.call("set_limit", (None, None, name, None if value is None else str(value), "stage"))
    store.call("make_partitions", (2,))
    store.keep()


def told() -> Asked:
    """The same as the auditor is told it."""
    asked = Asked()
    for one in places():
        asked.markets[one.condition_id] = MarketTerms(
            one.condition_id, one.tokens, one.fee_micros, 1, slug=one.slug
        )
    asked.limits = [
        LimitSet(0, name, value) for name, value in LIMITS.items() if name.startswith("max_")
    ]
    asked.moved = [
        Moved(0, "main", "collateral", COLLATERAL, answered_turn=0),
        Moved(0, "main", places()[0].tokens[0], TOKENS, answered_turn=0),
    ]
    return asked


VENUE: Final = {
    "rate_limits": True,
    "mine_after_ms": 400,
    "confirm_after_ms": 400,
    "post_only_ms": 1_000,
    "tape_every_ms": 0,
}


def furnish_venue(venue: SimVenue) -> None:
    """Every schedule's exchange."""
    tokens = {places()[0].tokens[0]: "30"}
    venue.do(
        "account",
        address=SIGNER.address,
        collateral="200",
        tokens=tokens,
        key=API_KEY,
        tier="elite",
    )
    for fee in FEE.values():
        venue.do("markets", made_up={"count": 1, "fee_rate": f"{fee / 1_000_000}"})
    for place in places():
        for token in place.tokens:
            venue.do("book", token_id=token, bids=[["0.40", "1000"]], asks=[["0.60", "1000"]])
