"""The live test as a plan: one smallest order, far from the market, and what it can tell. Pure.

The questions are those that the venue's documents leave open (docs/venue.md 14). What would need a
second order, a fill, or somebody else's restart is not asked, and the report says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from app.money import MICROS, cost_micros, format_micros
from app.venue.polymarket.amounts import AMOUNT_DECIMALS
from app.venue.polymarket.domain import is_protocol_v2
from app.venue.polymarket.encoding import parse_token_id
from workers.doctor.books import Top

LIVES_S: Final = 1_200
"""The order ends at the venue by itself after so long, whatever becomes of us."""

EXPIRES_EARLY_S: Final = 60
"""The venue stops a GTD order a minute before its stated expiry (docs/venue.md 3.4)."""

FAR_MICROS: Final = MICROS // 10
"""The best ask must be at least so far above our bid."""

MOST_COST_MICROS: Final = MICROS
"""More than this for one order is no smallest order."""

QUESTIONS: Final = {
    1: "Is the venue's order id our hash?",
    2: "What does the same order posted again answer?",
    3: "When do reads by id show an order?",
    4: "Which scale do sizes and amounts have?",
    5: "Does `unmatched` rest or die?",
    6: "Is a cancel remembered that comes before its order?",
    7: "Is an old timestamp taken?",
    8: "Are the signer's buckets enforced, and how many ids may one cancel hold?",
    9: "Does a batch answer in the order of its request?",
    10: "Do open orders survive a restart of the engine?",
}


@dataclass(frozen=True, slots=True)
class NotAsked:
    """A part of a question that one smallest order cannot answer."""

    question: int
    part: str
    why: str


NOT_ASKED: Final = (
    NotAsked(2, "a filled order", "needs a fill, so more than the smallest order at risk"),
    NotAsked(2, "a killed FAK, a refused post-only order", "each needs an order of its own"),
    NotAsked(3, "after a fill", "needs a fill"),
    NotAsked(5, "unmatched", "needs a marketable order in a market with a matching delay"),
    NotAsked(7, "a timestamp of an hour ago", "the ledger stamps orders with its own time"),
    NotAsked(8, "enforcement and the largest cancel", "would empty the signer's buckets"),
    NotAsked(9, "a batch", "needs two orders or more"),
    NotAsked(10, "a restart", "happens when the venue restarts: watch what the workers record"),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What must be known of the market."""

    market: str
    """Condition id."""
    outcome: str
    token_id: str
    tick_micros: int
    min_size_micros: int
    neg_risk: bool = False


@dataclass(frozen=True, slots=True)
class LiveOrder:
    """The one order: a post-only GTD BUY at the lowest price there is."""

    market: str
    outcome: str
    token_id: str
    price_micros: int
    size_micros: int
    expires_at_s: int
    exchange: str
    """``standard``, ``neg-risk`` or ``v3``: the hash is asked about for this one."""

    @property
    def cost_micros(self) -> int:
        """All that can be lost: the order filled, and its tokens worth nothing."""
        return cost_micros(self.price_micros, self.size_micros)

    def __str__(self) -> str:
        return (
            f"BUY {format_micros(self.size_micros)} {self.outcome} at "
            f"{format_micros(self.price_micros)} in {self.market[:14]}…, "
            f"{format_micros(self.cost_micros)} pUSD at most, post-only"
        )


@dataclass(frozen=True, slots=True)
class Unsuitable:
    """This market is no place for the test."""

    why: str
    next_step: str = "name another market, one whose outcomes both trade far from 0.01"


def choose(terms: Terms, top: Top, now_s: int) -> LiveOrder | Unsuitable:
    """The order for a market and its book, or why it would not be far from the market and small."""
    if terms.tick_micros not in AMOUNT_DECIMALS:
        return Unsuitable(f"its tick of {terms.tick_micros} micros is unknown")
    if top.crossed:
        return Unsuitable("its book is crossed")
    price = terms.tick_micros
    if top.ask_micros is not None and top.ask_micros < price + FAR_MICROS:
        return Unsuitable(
            f"its best ask {format_micros(top.ask_micros)} is too near to {format_micros(price)}"
        )
    if top.bid_micros is None:
        return Unsuitable("nobody bids: an order at the lowest price would be the best bid")
    if top.bid_micros <= price:
        return Unsuitable(
            f"its best bid is {format_micros(top.bid_micros)}: ours would be the best"
        )
    size = -(-terms.min_size_micros // 10_000) * 10_000
    token = parse_token_id(terms.token_id)
    exchange = "v3" if is_protocol_v2(token) else "neg-risk" if terms.neg_risk else "standard"
    order = LiveOrder(
        terms.market,
        terms.outcome,
        terms.token_id,
        price,
        size,
        now_s + LIVES_S + EXPIRES_EARLY_S,
        exchange,
    )
    if order.cost_micros > MOST_COST_MICROS:
        return Unsuitable(f"its smallest order costs {format_micros(order.cost_micros)} pUSD")
    return order


class Step(StrEnum):
    """What is done, in this order."""

    STRANGER = "stranger"
    PLACE = "place"
    REPOST_LIVE = "repost_live"
    CANCEL = "cancel"
    REPOST_CANCELLED = "repost_cancelled"
    CLEAN_UP = "clean_up"


@dataclass(frozen=True, slots=True)
class Planned:
    """A step as it is shown before it is done."""

    step: Step
    questions: tuple[int, ...]
    irreversible: bool
    """Asks for consent. What only reads or ends the order never does."""
    says: str


def plan(order: LiveOrder, *, cancel_first: bool) -> tuple[Planned, ...]:
    """All steps. ``cancel_first``: the order's id is cancelled just before the order is sent."""
    early = (
        "; just before it is sent, a cancel for its id is, which may end it at once"
        if cancel_first
        else ""
    )
    return (
        Planned(Step.STRANGER, (3,), False, "look up an id that nobody ever used"),
        Planned(
            Step.PLACE,
            (1, 3, 4, 6) if cancel_first else (1, 3, 4),
            True,
            f"place through the ledger: {order}; the venue ends it by itself at Unix second "
            f"{order.expires_at_s - EXPIRES_EARLY_S}{early}",
        ),
        Planned(
            Step.REPOST_LIVE,
            (2, 8),
            True,
            "post the same bytes again while the order lives: a venue that does not know its own "
            "ids would have two",
        ),
        Planned(Step.CANCEL, (3,), False, "cancel it through the ledger, and read it"),
        Planned(
            Step.REPOST_CANCELLED,
            (2,),
            True,
            "post the same bytes again after the cancel: a venue that forgets cancelled ids would "
            "have the order live once more; it is cancelled again at once",
        ),
        Planned(
            Step.CLEAN_UP, (), False, "cancel whatever may be left, and read until nothing is live"
        ),
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found about a question."""

    question: int
    about: str
    seen: str
    """What the venue said or did, in its own words as far as possible."""
    means: str
    settled: bool
    """Whether this part of the question needs no further test."""
