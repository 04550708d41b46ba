"""The ledger: what is wanted, reserved, sent and filled, as rows that survive anything.

`Ledger` is the way in for Python; the SQL functions below ``sql/`` are the way in for every other
language.
"""

from app.ledger.answers import (
    Admission,
    Cancelled,
    OrderView,
    Refusal,
    ReplaceAsked,
    ReplacementView,
)
from app.ledger.client import Ledger
from app.ledger.handles import OrderHandle
from app.ledger.intents import Intent
from app.ledger.wake import OUTBOX_CHANNEL

__all__ = [
    "OUTBOX_CHANNEL",
    "Admission",
    "Cancelled",
    "Intent",
    "Ledger",
    "OrderHandle",
    "OrderView",
    "Refusal",
    "ReplaceAsked",
    "ReplacementView",
]
