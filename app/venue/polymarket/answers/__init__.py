"""What the venue's answers, pages and frames mean: pure functions without clock, network or chance.

An `Exchange` or a frame goes in; outcomes, signs, rows and events of `app.venue.interface` come out. Nothing
that comes in raises: what is not understood is `Unknown`, `Unread` or an `UnreadEvent`, and keeps its text.
"""

from app.venue.polymarket.answers.border import NOT_TOLD, Unreadable
from app.venue.polymarket.answers.cancels import (
    CancelLists,
    cancel_lists,
    cancel_outcomes,
    wide_cost,
)
from app.venue.polymarket.answers.frames import frame_events, read_event
from app.venue.polymarket.answers.modes import ModeSign, mode_of
from app.venue.polymarket.answers.outcomes import place_outcomes
from app.venue.polymarket.answers.own import FeeTerms, Ours, fee_micros, own_fills
from app.venue.polymarket.answers.pacing import BudgetSign, budget_of, stated_wait_ms
from app.venue.polymarket.answers.reading import (
    FIRST_CURSOR,
    Balance,
    Beat,
    Page,
    PositionRow,
    WrongBeat,
    read_balance,
    read_closed_only,
    read_geoblock,
    read_heartbeat,
    read_order,
    read_orders_page,
    read_positions_page,
    read_rewards_page,
    read_tier,
    read_time_ms,
    read_trades_page,
    read_version,
)
from app.venue.polymarket.answers.rows import OrderRow, SizeOf, TradeRow
from app.venue.polymarket.answers.rules import RULES, reason_class, rule_for
from app.venue.polymarket.answers.verdicts import Mode, ReasonClass, Rule, Verdict

__all__ = [
    "FIRST_CURSOR",
    "NOT_TOLD",
    "RULES",
    "Balance",
    "Beat",
    "BudgetSign",
    "CancelLists",
    "FeeTerms",
    "Mode",
    "ModeSign",
    "OrderRow",
    "Ours",
    "Page",
    "PositionRow",
    "ReasonClass",
    "Rule",
    "SizeOf",
    "TradeRow",
    "Unreadable",
    "Verdict",
    "WrongBeat",
    "budget_of",
    "cancel_lists",
    "cancel_outcomes",
    "fee_micros",
    "frame_events",
    "mode_of",
    "own_fills",
    "place_outcomes",
    "read_balance",
    "read_closed_only",
    "read_event",
    "read_geoblock",
    "read_heartbeat",
    "read_order",
    "read_orders_page",
    "read_positions_page",
    "read_rewards_page",
    "read_tier",
    "read_time_ms",
    "read_trades_page",
    "read_version",
    "reason_class",
    "rule_for",
    "stated_wait_ms",
    "wide_cost",
]
