"""One matching core for the paper venue, the simulator and the tests: pure, and deterministic from
a seed.
"""

from app.venue.matching.books import made_up_book, made_up_mid, new_book, parse_books
from app.venue.matching.engine import cancel, next_due_ms, place, step
from app.venue.matching.exchange import Exchange
from app.venue.matching.flow import FillModel, Flow, SimpleCrossing, Taker
from app.venue.matching.outside import offer, replace_levels, resting, take
from app.venue.matching.types import (
    BACKGROUND,
    Answer,
    AnswerKind,
    Book,
    Event,
    Fate,
    Level,
    Order,
    OrderChanged,
    OrderEventType,
    OrderStatus,
    Outcome,
    Part,
    Rules,
    Trade,
    TradeChanged,
)

__all__ = [
    "BACKGROUND",
    "Answer",
    "AnswerKind",
    "Book",
    "Event",
    "Exchange",
    "Fate",
    "FillModel",
    "Flow",
    "Level",
    "Order",
    "OrderChanged",
    "OrderEventType",
    "OrderStatus",
    "Outcome",
    "Part",
    "Rules",
    "SimpleCrossing",
    "Taker",
    "Trade",
    "TradeChanged",
    "cancel",
    "made_up_book",
    "made_up_mid",
    "new_book",
    "next_due_ms",
    "offer",
    "parse_books",
    "place",
    "replace_levels",
    "resting",
    "step",
    "take",
]
